"""The mutants: each takes out one safeguard of money, order or replies, in the words of the code as it is.

The table follows the code: a text that is no longer found is an error, and the unit tests say so at once.
"""

from __future__ import annotations

from mutants.mutant import Mutant

LEDGER = "tests/integration/test_ledger.py::test_"
CLOCK = "tests/integration/test_clock.py::test_"
APPEND = "tests/integration/outbox/test_append.py::test_"
PIPELINE = "tests/integration/outbox/test_pipeline.py::test_"
INTERLEAVE = (
    "tests/integration/test_interleave.py::"
    "test_small_scenes_end_as_if_run_one_after_another_whatever_the_order_and_the_faults"
)

IN_THE_LEDGER = (
    Mutant(
        "recall",
        "nobody looks whether a command ran before",
        "worker/ledger/batch.py",
        "    ran = await recall(connection, [received.command.command_id for received in batch])\n",
        "    ran = {}\n",
        (f"{LEDGER}a_worker_that_starts_anew_recalls_what_ran",),
    ),
    Mutant(
        "recall-in-batch",
        "a command that comes twice in one batch is run twice",
        "worker/ledger/decide_batch.py",
        "    decided.ran[command.command_id] = ran\n",
        "",
        (f"{PIPELINE}a_duplicate_in_the_same_batch_costs_no_call_and_no_wait[append_records]",),
    ),
    Mutant(
        "fingerprint",
        "another payload under a used id is taken for a repeat",
        "worker/ledger/recall.py",
        '        return self.fingerprint in (b"", current)\n',
        "        return True\n",
        (f"{LEDGER}a_reused_id_is_a_conflict_after_a_restart_as_well",),
    ),
    Mutant(
        "lock-order",
        "wallets are locked in the order in which Postgres finds them",
        "worker/ledger/lock.py",
        "ORDER BY id\nFOR UPDATE\n",
        "FOR UPDATE\n",
        (f"{LEDGER}a_batch_that_waits_for_its_first_wallet_has_locked_none_of_the_others",),
    ),
    Mutant(
        "row-lock",
        "wallets are read without being locked",
        "worker/ledger/lock.py",
        "ORDER BY id\nFOR UPDATE\n",
        "ORDER BY id\n",
        (f"{LEDGER}opposite_streams_of_transfers_wait_instead_of_deadlocking",),
    ),
    Mutant(
        "absent-wallets",
        "a wallet that is made while locks are waited for is not looked for",
        "worker/ledger/batch.py",
        "await read_clock(connection, named - locked.wallets.keys())",
        "await read_clock(connection)",
        (f"{LEDGER}a_wallet_that_is_made_while_locks_are_waited_for_is_seen",),
    ),
    Mutant(
        "version-guard",
        "a wallet is written whatever its version is by then",
        "worker/ledger/persist.py",
        "WHERE wallet.id = new.id AND wallet.version = new.read_version\n",
        "WHERE wallet.id = new.id\n",
        (f"{LEDGER}a_wallet_that_moves_in_spite_of_its_lock_is_never_overwritten",),
    ),
    Mutant(
        "postgres-clock",
        "the time is the process's own, not Postgres's",
        "worker/ledger/lock.py",
        "    return cast(datetime, now)\n",
        "    return datetime.now().astimezone()\n",
        (f"{CLOCK}a_process_whose_clock_is_an_hour_late_lets_no_hold_live_longer",),
    ),
    Mutant(
        "time-under-lock",
        "the time is that of the transaction's begin, before its locks",
        "worker/ledger/lock.py",
        "SELECT clock_timestamp(), EXISTS",
        "SELECT now(), EXISTS",
        (f"{CLOCK}what_waited_for_its_locks_is_not_decided_in_the_past",),
    ),
    Mutant(
        "parked-key",
        "a command overtakes a parked one with the same key",
        "worker/ledger/settle.py",
        "        if self.wallets.isdisjoint(wallet_ids(received.command)) and received.key not in self.keys:\n",
        "        if self.wallets.isdisjoint(wallet_ids(received.command)):\n",
        ("tests/integration/test_settle.py::test_behind_a_foreign_lock_waits_only_what_must_not_overtake",),
    ),
)

AFTER_THE_COMMIT = (
    Mutant(
        "exact-revision",
        "events are appended wherever the stream stands (AppendRecords)",
        "worker/outbox/append_records.py",
        "    _add_check(request, stream, run.first - 1)\n",
        "    _add_check(request, stream, -2)\n",
        (f"{APPEND}a_stream_that_another_worker_is_about_to_append_to_is_waited_for[append_records]",),
    ),
    Mutant(
        "exact-revision-each",
        "the same in the append to one stream",
        "worker/outbox/append_to_stream.py",
        "        options.revision = run.first - 1\n",
        "        options.any.SetInParent()\n",
        (f"{APPEND}a_stream_that_another_worker_is_about_to_append_to_is_waited_for[append_to_stream]",),
    ),
    Mutant(
        "contiguous-runs",
        "events of two transactions are appended as if nothing lay between them",
        "worker/outbox/run.py",
        "        if runs and event.version == runs[-1][-1].version + 1:\n",
        "        if runs:\n",
        (f"{APPEND}what_lies_between_two_of_our_transactions_is_waited_for[append_records]",),
    ),
    Mutant(
        "event-before",
        "an event is appended behind whatever stands at the revision before it",
        "worker/outbox/append.py",
        "    behind = [run for run in runs if run.first > 0 and not _is_proven(work, run.wallet_id)]\n",
        "    behind = []\n",
        (
            "tests/integration/outbox/test_append_behind.py::test_nothing_is_appended_behind_an_event_that_the_ledger"
            "_does_not_have[append_records]",
        ),
    ),
    Mutant(
        "quarantined-wallet",
        "a wallet whose stores contradict takes commands",
        "worker/domain/decide.py",
        "    if not book.quarantined or",
        "    if book.quarantined or",
        ("tests/integration/test_quarantine.py::test_a_quarantined_wallet_refuses_commands_and_remembers_none",),
    ),
    Mutant(
        "event-id",
        "an event has another id each time it is appended",
        "worker/outbox/append_records.py",
        "    record.record_id = event.event_id\n",
        '    record.record_id = str(__import__("uuid").uuid4())\n',
        (f"{APPEND}the_same_append_again_and_a_slice_of_it_change_nothing[append_records]",),
    ),
    Mutant(
        "append-again",
        "an append that timed out is taken for done",
        "worker/outbox/event_store.py",
        "            await self.close()\n            raise\n",
        "            await self.close()\n            return Appended()\n",
        (
            "tests/integration/outbox/test_append_faults.py::test_whatever_is_unknown_is_sent_again"
            "[timeout_before_write_every-append_records]",
        ),
    ),
    Mutant(
        "proof",
        "events of a repeated command are taken to be in their streams",
        "worker/inbox/pipeline.py",
        "        made = self._unacknowledged(batch, runs)\n",
        "        made = {}\n",
        ("tests/e2e/test_crash_points.py::test_what_was_committed_is_answered_from_the_store",),
    ),
    Mutant(
        "reply-wait",
        "an offset is committed without waiting for the replies",
        "worker/inbox/pipeline.py",
        "        refused = await self.publisher.deliver([message for _, message in outgoing])\n",
        "        refused = {}\n"
        "        asyncio.create_task(self.publisher.deliver([message for _, message in outgoing]))\n",
        (f"{PIPELINE}no_offset_is_committed_before_kafka_has_the_replies[append_records]",),
    ),
    Mutant(
        "stray-cancellation",
        "a client that cancels its own call ends the task that made it",
        "worker/retry.py",
        "            if is_asked_for():\n                raise\n",
        "            raise\n",
        ("tests/unit/test_retry.py::test_a_call_that_is_cancelled_by_nobody_is_tried_again",),
    ),
    Mutant(
        "explicit-offsets",
        "whatever was read is committed, not what is answered",
        "worker/inbox/offsets.py",
        "                await consumer.commit(dict(offsets))\n",
        "                await consumer.commit()\n",
        ("tests/e2e/test_held_up.py::test_a_foreign_lock_holds_up_its_wallet_and_no_other",),
    ),
    Mutant(
        "parked-offset",
        "the offset of a parked command is not held back",
        "worker/inbox/partitions.py",
        "        offset = min([*self._held_back, self.answered])\n",
        "        offset = self.answered\n",
        ("tests/unit/inbox/test_partitions.py::test_what_is_committed_is_the_first_record_that_is_not_answered",),
    ),
    Mutant(
        "offset-ahead",
        "the offset of a parked command is committed, though batches before it are on their way",
        "worker/inbox/partitions.py",
        "        offset = min([*self._held_back, self.answered])\n",
        "        offset = min(self._held_back, default=self.answered)\n",
        ("tests/unit/inbox/test_partitions.py::test_what_is_committed_is_the_first_record_that_is_not_answered",),
    ),
    Mutant(
        "conflict-is-success",
        "a document that is there already, or a newer one, is an error",
        "worker/projection/bulk.py",
        '    if item["status"] < 300 or item["status"] == CONFLICT:\n',
        '    if item["status"] < 300:\n',
        ("tests/integration/projection/test_projector.py::test_following_everything_again_changes_nothing",),
    ),
    Mutant(
        "external-version",
        "an older document overwrites a newer one",
        "worker/projection/bulk.py",
        '        "version": event.revision + 1,\n        "version_type": "external",\n',
        "",
        ("tests/integration/projection/test_projector.py::test_following_everything_again_changes_nothing",),
    ),
)

FOUND_BY_INTERLEAVING = (
    Mutant(
        "interleaved-runs",
        "events of two transactions are appended as if nothing lay between them",
        "worker/outbox/run.py",
        "        if runs and event.version == runs[-1][-1].version + 1:\n",
        "        if runs:\n",
        (INTERLEAVE,),
    ),
    Mutant(
        "interleaved-gap",
        "a gap in the offsets is believed the first time",
        "worker/inbox/assignment.py",
        "        elif offset > expected and gap != (expected, offset):\n",
        "        elif False:\n",
        (INTERLEAVE,),
    ),
    Mutant(
        "interleaved-event-before",
        "an event is appended behind whatever stands at the revision before it",
        "worker/outbox/append.py",
        "    behind = [run for run in runs if run.first > 0 and not _is_proven(work, run.wallet_id)]\n",
        "    behind = []\n",
        (INTERLEAVE,),
    ),
    Mutant(
        "interleaved-lone-record",
        "what comes behind a record that was dropped is run",
        "worker/inbox/intake.py",
        "            partition.owned = False\n            return\n",
        "            return\n",
        (INTERLEAVE,),
    ),
    Mutant(
        "interleaved-parking",
        "parked commands are forgotten while more are being parked",
        "worker/inbox/parking.py",
        "        async with self.settling:\n            self._leave(ran)\n",
        "        self._leave(ran)\n",
        (INTERLEAVE,),
    ),
    Mutant(
        "interleaved-deaths",
        "a process that lost its place in the group counts as one that died",
        "worker/inbox/assignment.py",
        "        dead = tuple(process for process in read_trying(metadata) if process not in alive)\n",
        "        dead = read_trying(metadata)\n",
        (INTERLEAVE,),
    ),
    Mutant(
        "interleaved-attempt",
        "an attempt is recorded under the number that its sender wrote",
        "worker/ledger/decide_batch.py",
        "    attempt = _attempt_after(decided.ran.get(command.command_id))\n",
        "    attempt = received.envelope.attempt\n",
        (INTERLEAVE,),
    ),
)

MUTANTS = (*IN_THE_LEDGER, *AFTER_THE_COMMIT, *FOUND_BY_INTERLEAVING)
