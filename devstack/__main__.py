"""`python -m devstack`: start, stop and describe the five servers on this machine."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from devstack import docker
from devstack.errors import DevstackError
from devstack.stack import Stack

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console()

Names = Annotated[list[str] | None, typer.Argument(help="Servers; all where none is named.", show_default=False)]
Docker = Annotated[bool, typer.Option("--docker", help="The images of docker-compose.yml, on their standard ports.")]
ADVERTISED = typer.Option(help="The port that Kafka sends its clients to, for a proxy in between.", show_default=False)
FAULT = typer.Option(help="An option of the stand-in, such as --no-append-records; repeatable.", show_default=False)


@app.command()
def up(
    names: Names = None,
    kafka_advertised_port: Annotated[int | None, ADVERTISED] = None,
    kurrentdb_option: Annotated[list[str] | None, FAULT] = None,
    with_docker: Docker = False,
) -> None:
    """Start the servers that do not run, and wait until all are ready."""
    if with_docker:
        docker.up(names)
        return
    stack = Stack(kafka_advertised_port=kafka_advertised_port, kurrentdb_options=kurrentdb_option or ())
    with console.status(f"starting the servers of {stack.folder}"):
        started = stack.up(names or None)
    for name, now in started.items():
        how = "started" if now else "already running"
        _say(f"{name}: {how}, port {stack.port(name)}, log {stack.log(name)}")


@app.command()
def down(names: Names = None, with_docker: Docker = False) -> None:
    """Stop the servers; their data stays."""
    if with_docker:
        docker.down(names)
        return
    Stack().down(names or None)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="For a script.")] = False) -> None:
    """Show each server; exit code 0 where all are ready, else 1."""
    servers = Stack().status()
    if as_json:
        console.print_json(json.dumps([asdict(server) for server in servers]))
    else:
        table = Table("server", "state", "port", "pid", "log")
        for server in servers:
            table.add_row(server.server, server.state, str(server.port or ""), str(server.pid or ""), server.log)
        console.print(table)
    if any(server.state != "ready" for server in servers):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print the environment that points Wallex at the servers: eval "$(python -m devstack env)"."""
    stack = Stack()
    variables = stack.environment()
    if not variables:
        raise DevstackError(f"nothing was ever started in {stack.folder}: `python -m devstack up` does it")
    for name, value in variables.items():
        _say(f"export {name}={shlex.quote(value)}")


def _say(line: str) -> None:
    """Print a line as it is: not wrapped, not coloured."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; what goes wrong is said on stderr, with exit code 1."""
    try:
        app()
    except DevstackError as error:
        Console(stderr=True).print(f"devstack: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
