"""The written contract: every file of `schemas/`, made from the models, the header names and the examples.

Pure and deterministic: the same models give the same bytes, so a test can hold the folder against them. JSON Schema is
2020-12, each file complete in itself; ids are URNs, since nothing is published under a host. A new command, event or
reply needs its model (in `COMMAND_TYPES`, `EVENT_MODELS`) and its examples, and nothing here.
"""

from __future__ import annotations

import json
from typing import Any

from worker.contracts.schemas.asyncapi import Topics, asyncapi_yaml
from worker.contracts.schemas.examples import EXAMPLES, Example
from worker.contracts.schemas.headers import header_schemas
from worker.contracts.schemas.messages import MESSAGES, command_union_schema, message_schema

__all__ = ["Topics", "schema_files"]


def schema_files(topics: Topics) -> dict[str, str]:
    """Make the files of `schemas/`: path inside the folder (with `/`) to text, sorted by path.

    `topics` are the names that `asyncapi.yaml` and the header schemas speak of.
    """
    documents: dict[str, Any] = {"commands/Command.json": command_union_schema()}
    for message in MESSAGES:
        documents[f"{message.folder}/{message.name}.json"] = message_schema(message)
    for name, schema in header_schemas(topics.reply_pattern).items():
        documents[f"headers/{name}.json"] = schema
    for name, examples in EXAMPLES.items():
        documents |= {f"examples/{name}/{example.file_name}": example.value for example in examples}
    documents["examples/index.json"] = _examples_index()
    files = {path: _json_text(document) for path, document in documents.items()}
    files["asyncapi.yaml"] = asyncapi_yaml(topics)
    return dict(sorted(files.items()))


def _examples_index() -> list[dict[str, Any]]:
    return [_index_entry(name, example) for name, examples in sorted(EXAMPLES.items()) for example in examples]


def _index_entry(name: str, example: Example) -> dict[str, Any]:
    return {"file": f"{name}/{example.file_name}", "message": name, **example.index_entry()}


def _json_text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
