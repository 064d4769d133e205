"""A failing scene is made shorter: what is not needed for its failure goes."""

from __future__ import annotations

from interleave.choices import PLAIN, Choice
from interleave.gates import Style
from interleave.scene import Happening, Result, Spec, count_records
from interleave.shrink import Failing, shrink

KILL, LOCK = Happening("kill", 0, 0), Happening("lock", 0, 1)
SPEC = Spec(
    seed=1,
    wallets=3,
    partitions=2,
    cores=2,
    static=True,
    has_append_records=True,
    style=Style(),
    hot=0.0,
    poll_sizes=(1,),
    commands=20,
    gaps=frozenset(),
    happenings=(LOCK, KILL),
)
NEEDED = {4: Choice(1, 0), 9: Choice(2, 1)}


def result_of(spec: Spec, choices) -> Result:
    """Fails with the kill, record 7 and two of the choices; with the lock alone in another way."""
    made = dict(enumerate(choices))
    fails = KILL in spec.happenings and 7 not in spec.left_out
    fails = fails and all(made.get(step) == choice for step, choice in NEEDED.items())
    other = ["Hangs: at 900 s"] if LOCK in spec.happenings and not fails else []
    return Result(["w1 is at version 3"] if fails else other, choices, [])


async def test_what_the_failure_does_not_need_is_left_out():
    """Another failure is none: what is looked for must not be lost on the way."""

    async def run(spec, choices):
        return result_of(spec, choices)

    choices = [NEEDED.get(step, Choice(3, 2)) for step in range(60)]
    found = await shrink(run, Failing(SPEC, choices, result_of(SPEC, choices)), count_records(SPEC))

    assert found.result.violations == ["w1 is at version 3"]
    assert found.spec.happenings == (KILL,)
    assert found.spec.left_out == frozenset(range(count_records(SPEC))) - {7}
    assert list(found.choices) == [NEEDED.get(step, PLAIN) for step in range(10)]
