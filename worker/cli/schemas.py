"""`wallex schemas`: the written contract, from the models into the folder `schemas/`.

Writes every file anew and deletes none: a file that the contract no longer has is named, exit code 1. The topics are
the contract's own, whatever the environment says.
"""

from __future__ import annotations

from pathlib import Path

import typer

from worker.contracts.schemas import Topics, schema_files
from worker.contracts.topics import PARTITIONS
from worker.settings import Settings

FOLDER = Path("schemas")


def register(app: typer.Typer) -> None:
    app.command("schemas")(write_schemas)


def write_schemas() -> None:
    """Write schemas/ in the current folder from the models; exit code 1 if it holds files that do not belong there."""
    files = contract_files()
    for path, text in files.items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {len(files)} files in {FOLDER}/")
    stale = stale_files(FOLDER, files)
    for path in stale:
        typer.echo(f"wallex: {FOLDER / path} is no longer part of the contract: delete it", err=True)
    if stale:
        raise typer.Exit(1)


def contract_files() -> dict[str, str]:
    """The files of `schemas/` with the contract's own topic names: path inside the folder to text."""
    defaults = Settings()
    (commands,) = defaults.command_topics
    topics = Topics(
        commands=commands,
        replies=defaults.reply_topic,
        reply_pattern=defaults.reply_topic_pattern.pattern,
        schedule=defaults.schedule_topic,
        dead_letters=defaults.dlq_topic,
        partitions=PARTITIONS,
    )
    return schema_files(topics)


def stale_files(folder: Path, files: dict[str, str]) -> list[str]:
    """The files in `folder` that are not among `files`, as paths inside it."""
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    return sorted(there - files.keys())
