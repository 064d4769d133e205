"""The last line of `wallex verify`: what was done, and what can be done now."""

from __future__ import annotations

from worker.audit.report import Difference, Kind, NotRepaired, Repaired, Repairs, Report, Store
from worker.cli.verify import _as_json, _outcome

LAGS = Difference("w", Store.ELASTICSEARCH, "wallets document", "version 3", "none", Kind.LAGS)


def a_report(repairs: Repairs | None) -> Report:
    """A comparison after which one document lags."""
    return Report(wallets=2, events=4, documents=6, seconds=1.0, differences=(LAGS,), repairs=repairs)


def test_a_repair_is_advised_to_those_alone_who_did_not_ask_for_it() -> None:
    """Whoever did is told where the reasons stand."""
    assert "1 of them only lag: see --repair (" in _outcome(a_report(None))
    assert "see --repair" not in _outcome(a_report(Repairs()))


def test_only_what_was_written_is_counted() -> None:
    """The rest is told with its reason, to a script as well."""
    left = NotRepaired("w", Store.ELASTICSEARCH, "wallets document w", "why")
    report = a_report(Repairs([Repaired("v", Store.KURRENTDB, "revisions 0 to 1")], [left]))

    assert _outcome(report).startswith("1 wallets repaired, 1 differences in 1 wallets")
    assert _as_json(report)["notRepaired"] == [
        {"walletId": "w", "store": "Elasticsearch", "what": "wallets document w", "why": "why"}
    ]
