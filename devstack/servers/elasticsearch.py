"""Elasticsearch 9.5, from its published jars, started by a launcher of our own.

The jars are those of the server and of the HTTP transport; modules of the distribution that are not published (ML,
security, `GET /`, …) are absent. All lies on the class path, so that a Java runtime without development modules will
do. Each write is synced before it is acknowledged, as by default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

from devstack.errors import DevstackError
from devstack.java import QUICK, find_java
from devstack.maven import RESOURCES, cached, fetch_jars
from devstack.server import HOST, Server, Site

POM = RESOURCES / "elasticsearch.pom.xml"
LAUNCHER = RESOURCES / "ElasticsearchLauncher.java"
LOGGING = RESOURCES / "elasticsearch.log4j2.properties"
HEAP = "-Xmx768m"
TRANSPORT = "transport-netty4"
TRANSPORT_JARS = (f"{TRANSPORT}-", "netty-", "elasticsearch-ssl-config-")
PROBE_INDEX = "devstack-ready"
ANSWER_S = 5.0


def prepare(site: Site) -> list[str]:
    """Fetch Elasticsearch, write its configuration; return the node's command line."""
    home = cached("elasticsearch", (POM, LAUNCHER), _make_home)
    config = site.folder / "config"
    config.mkdir(exist_ok=True)
    shutil.copyfile(LOGGING, config / "log4j2.properties")
    _write_settings(site, config / "elasticsearch.yml")
    return [
        str(find_java()),
        HEAP,
        QUICK,
        *site.options,
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        f"{home}/classes:{home}/lib/*",
        LAUNCHER.stem,
        str(home),
        str(config),
    ]


def check(site: Site) -> None:
    """Wait until every primary shard is there, and write a document."""
    with Elasticsearch(_url(site), request_timeout=ANSWER_S, max_retries=0) as client:
        client.cluster.health(wait_for_status="yellow", timeout=f"{ANSWER_S - 1:.0f}s")
        client.index(index=PROBE_INDEX, id="1", document={"ready": True})


def environment(site: Site) -> dict[str, str]:
    """Return ELASTICSEARCH_URL."""
    return {"ELASTICSEARCH_URL": _url(site)}


def _url(site: Site) -> str:
    return f"http://{site.address}"


def _write_settings(site: Site, file: Path) -> None:
    settings = {
        "cluster.name": "devstack",
        "node.name": "devstack",
        "path.data": site.folder / "data",
        "path.logs": site.folder / "logs",
        "http.host": HOST,
        "http.port": site.port,
        "transport.host": HOST,
        "transport.port": site.ports["transport"],
        "discovery.type": "single-node",
        # Its thread pools follow this number; four other servers run on the same cores.
        "node.processors": min(2, os.cpu_count() or 1),
        # On a developer's nearly full disk it would refuse every write, with gigabytes still free.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }
    file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))


def _make_home(home: Path) -> None:
    """Lay the jars out as a node expects its home, and compile the launcher."""
    lib, module = home / "lib", home / "modules" / TRANSPORT
    fetch_jars(POM, lib)
    module.mkdir(parents=True)
    for jar in lib.iterdir():
        if jar.name.startswith(TRANSPORT_JARS):
            jar.rename(module / jar.name)
    _write_descriptor(module)
    _compile_launcher(home, compiler=next(lib.glob("ecj-*.jar")))


def _write_descriptor(module: Path) -> None:
    """Take the transport's descriptor out of its jar, but for the Java module that it names: ours is a class path."""
    with zipfile.ZipFile(next(module.glob(f"{TRANSPORT}-*.jar"))) as jar:
        text = jar.read(f"META-INF/es-plugins/{TRANSPORT}/plugin-descriptor.properties").decode()
    kept = [line for line in text.splitlines() if not line.startswith("modulename=")]
    (module / "plugin-descriptor.properties").write_text("\n".join(kept))


def _compile_launcher(home: Path, compiler: Path) -> None:
    jars = ":".join(str(jar) for jar in (home / "lib").glob("elasticsearch-*.jar"))
    done = subprocess.run(
        [
            str(find_java()),
            QUICK,
            "-jar",
            str(compiler),
            "-21",
            "-cp",
            jars,
            "-d",
            str(home / "classes"),
            str(LAUNCHER),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DevstackError(f"elasticsearch: its launcher does not compile: {(done.stderr or done.stdout).strip()}")
    compiler.unlink()


ELASTICSEARCH = Server(
    name="elasticsearch",
    port_names=("main", "transport"),
    prepare=prepare,
    check=check,
    not_ready_errors=(OSError, ApiError, TransportError),
    environment=environment,
)
