"""The kinds of fields that commands are made of, with their limits (contract, "Commands").

Ids stay text (lower-case UUIDs with hyphens), since text is what travels to every store. What cannot come back as it
went in is refused, not mended.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError, PydanticUseDefault

from worker.contracts.currencies import CURRENCIES

METADATA_BYTES_MAX = 8 * 1024


def null_is_left_out(value: object) -> object:
    """For a `BeforeValidator`: an explicit null is the field's default, as if nothing was said."""
    if value is None:
        raise PydanticUseDefault
    return value


UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Uuid = Annotated[str, Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})]
OwnerId = Annotated[str, Field(min_length=1, max_length=255)]
Reference = Annotated[str, Field(max_length=255)]
Reason = Annotated[str, Field(max_length=255)]
Version = Annotated[int, Field(ge=0, le=2**63 - 1)]


def _known_currency(value: str) -> str:
    if value not in CURRENCIES:
        raise PydanticCustomError("unknown_currency", "a currency is an ISO 4217 code in capitals, such as USD")
    return value


Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$"), AfterValidator(_known_currency)]


def _storable_metadata(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = orjson.dumps(value)
        survives = orjson.loads(text) == value
    except (TypeError, ValueError):
        survives = False
    if not survives:
        raise PydanticCustomError("metadata", "metadata is JSON without NaN, infinities and integers beyond 64 bits")
    if len(text) > METADATA_BYTES_MAX:
        raise PydanticCustomError("metadata", "metadata is at most 8192 bytes of compact JSON in UTF-8")
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_storable_metadata)]


_match_rfc3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
    re.IGNORECASE | re.ASCII,
).fullmatch


def _rfc3339(value: object) -> object:
    # Pydantic would also take Unix time, a date alone, a time without seconds: the contract says RFC 3339.
    if isinstance(value, datetime) or (isinstance(value, str) and _match_rfc3339(value)):
        return value
    raise PydanticCustomError("time", "a time is RFC 3339 text with a zone, such as 2026-11-22T12:00:00Z")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "a time lies in the years 1 to 9999, in UTC as well") from None


Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_rfc3339), AfterValidator(_in_utc)]
