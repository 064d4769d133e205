"""Elasticsearch's errors, told apart in one place: wait, begin anew, or stop.

`elasticsearch_errors` does it for whole requests, `judge_item` for one item of a bulk, by the same rules. What is only
a matter of time (a server that is away or full, a block, a closed index) is `Unavailable`; an index that is gone is
`IndexLost`; a document or request that Elasticsearch refuses is `Fatal`: trying again would not help, and skipping it
would leave a hole that nobody sees.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elastic_transport import TlsError
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from worker.errors import Fatal, Unavailable, not_trusted

REQUEST_TIMEOUT_S = 30

_REFUSALS = frozenset({401, 403})
_BUSY = frozenset({408, 429})
# Raised by a person or a full disk, and lifted again: 403, 429 or 400, depending on which.
_BLOCKS = frozenset({"cluster_block_exception", "index_closed_exception"})


class ElasticsearchLost(Unavailable):
    """Elasticsearch does not answer."""

    server = "elasticsearch"


class IndexLost(Unavailable):
    """An index, or its alias, is gone or was replaced: it is made again and followed from its own checkpoint."""


def connect_elasticsearch(url: str) -> AsyncElasticsearch:
    """A client that tries each request once: when to try again is decided here, where it is logged."""
    # Left to itself the client does not check the certificate's name where the URL has an address.
    tls = ssl.create_default_context() if url.startswith("https:") else None
    return AsyncElasticsearch(
        url, request_timeout=REQUEST_TIMEOUT_S, max_retries=0, retry_on_timeout=False, ssl_context=tls
    )


@contextmanager
def elasticsearch_errors() -> Iterator[None]:
    """Raise Elasticsearch's errors as ours: `Unavailable`, `IndexLost` or `Fatal`."""
    try:
        yield
    except TlsError as error:
        # Its text is "TLS error", its message the reason.
        raise not_trusted("Elasticsearch", error.message, "ELASTICSEARCH_URL, or SSL_CERT_FILE") from error
    except TransportError as error:
        raise ElasticsearchLost(f"Elasticsearch: {error}") from error
    except ApiError as error:
        if error.status_code in _REFUSALS and _type_of(error) not in _BLOCKS:
            raise not_trusted("Elasticsearch", error, "the user and password of ELASTICSEARCH_URL") from error
        raise _judge(error.status_code, _type_of(error), f"Elasticsearch: {error}") from error


def judge_item(status: int, error: dict[str, Any], what: str) -> Unavailable | Fatal:
    """What it means that a bulk answers `status` and `error` for the item `what`."""
    kind = error.get("type", "")
    cause = error.get("caused_by", {}).get("reason", "")
    return _judge(status, kind, f"Elasticsearch refused {what}: {status} {kind}: {error.get('reason')} {cause}".strip())


def _judge(status: int, kind: str, text: str) -> Unavailable | Fatal:
    if kind in _BLOCKS or status in _BUSY or status >= 500:
        return Unavailable(text)
    if status == 404:
        return IndexLost(text)
    return Fatal(text)


def _type_of(error: ApiError) -> str:
    return (
        error.body["error"]["type"]
        if isinstance(error.body, dict) and isinstance(error.body.get("error"), dict)
        else ""
    )
