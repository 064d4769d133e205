"""`python -m devstack.kurrentdb`: run the stand-in until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import signal
import sys
from pathlib import Path

from devstack.kurrentdb.control import start_control
from devstack.kurrentdb.faults import Faults
from devstack.kurrentdb.log import Log, LogError
from devstack.kurrentdb.security import Security
from devstack.kurrentdb.server import OPEN, build_server
from devstack.kurrentdb.store import Store
from worker.garbage import tune_garbage_collection

logger = logging.getLogger("devstack.kurrentdb")


def main() -> int:
    """Read the command line, serve, and return the exit code: 0 stopped, 1 could not start, 2 wrong options."""
    parser = _parser()
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    names = [item.name for item in dataclasses.fields(Faults) if item.init]
    faults = Faults()
    try:
        faults.change({name: getattr(options, name) for name in names})
    except ValueError as error:
        parser.error(str(error))
    try:
        security = Security(options.tls_cert, options.tls_key, options.user_file)
        asyncio.run(serve(options.host, options.port, options.data, faults, options.control_port, security=security))
    except (LogError, OSError, RuntimeError) as error:
        logger.error("stand-in: cannot start: %s", error)
        return 1
    return 0


async def serve(
    host: str, port: int, data: Path, faults: Faults, control_port: int | None, *, security: Security = OPEN
) -> None:
    """Serve until a signal says stop; then finish writing, cut every call, and return."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = Store(Log(data), faults)
    server, bound = build_server(store, faults, host, port, security)
    await server.start()
    control = None if control_port is None else await start_control(faults, host, control_port)
    logger.info(
        "KurrentDB stand-in (not KurrentDB) on %s:%d, data in %s, faults %s", host, bound, data, faults.as_dict()
    )
    tune_garbage_collection()
    await stop.wait()
    logger.info("stand-in: stopping in %.1f s", faults.sigterm_grace_s)
    await asyncio.sleep(faults.sigterm_grace_s)
    await server.stop(None)
    if control is not None:
        await control.cleanup()
    await store.close()
    logger.info("stand-in: stopped")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devstack.kurrentdb", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2113, help="0: any free one, said in the log")
    parser.add_argument("--data", type=Path, required=True, help="folder of the log")
    parser.add_argument("--control-port", type=int, help="serve /faults here: GET shows the switches, PUT sets them")
    parser.add_argument("--tls-cert", type=Path, help="serve over TLS with this certificate (PEM), and --tls-key")
    parser.add_argument("--tls-key", type=Path, help="its key (PEM)")
    parser.add_argument("--user-file", type=Path, help="a file with name:password: nobody else may call")
    faults = parser.add_argument_group("faults, all off by default; see devstack/kurrentdb/faults.py")
    for item in dataclasses.fields(Faults):
        if not item.init:
            continue
        flag = "--" + item.name.replace("_", "-")
        if isinstance(item.default, bool):
            faults.add_argument(flag, action=argparse.BooleanOptionalAction, default=item.default)
        else:
            faults.add_argument(flag, type=type(item.default), default=item.default, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
