"""`python -m fuzz [--minutes N] [--folder F] [TARGET …]`: fuzz the targets beside each other, for so long.

Each runs in a process of its own. What breaks a promise, takes more than 10 seconds or more than a gibibyte ends its
process with an exit code, and the input lies in `F/TARGET/finds/`. Mend it, give it a name in `fuzz/finds/TARGET/`, and
the tests run it for ever.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

TARGETS = ("decoder", "kurrentdb")
INPUT_BYTES_MAX = 70_000
"""A little more than a command may have."""
SLOW_S = 10
MEMORY_MB = 1024


def main() -> int:
    """Read the command line, and fuzz; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET", help="decoder, kurrentdb")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where corpus and finds are kept")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")
    if options.here:
        _fuzz(options.targets[0], options.folder, options.minutes)
    told = ["--here", "--minutes", str(options.minutes), "--folder", str(options.folder)]
    running = [subprocess.Popen([sys.executable, "-m", "fuzz", *told, target]) for target in options.targets]  # noqa: S603
    return max(process.wait() != 0 for process in running)


def _fuzz(target: str, folder: Path, minutes: float) -> None:
    """Fuzz one target in this process; never returns."""
    import atheris  # noqa: PLC0415 -- an extra: the tests do without it

    # Instrumented while they are imported: so nothing above may import them.
    with atheris.instrument_imports(include=["worker", "devstack"]):
        from fuzz import decoder, kurrentdb, mutate  # noqa: PLC0415
        from fuzz.seeds import seeds  # noqa: PLC0415

    check, change = {
        "decoder": (decoder.check, mutate.mutate_record),
        "kurrentdb": (kurrentdb.check, mutate.mutate_frames),
    }[target]
    seeded, corpus, finds = (folder / target / name for name in ("seeds", "corpus", "finds"))
    for one in (seeded, corpus, finds):
        one.mkdir(parents=True, exist_ok=True)
    for name, data in seeds(target):
        (seeded / name).write_bytes(data)

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        return change(bytes(data), random.Random(seed), atheris.Mutate, size)  # noqa: S311 -- chance, no secret

    limits = [f"-timeout={SLOW_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={INPUT_BYTES_MAX}"]
    arguments = [
        *limits,
        f"-max_total_time={round(minutes * 60)}",
        f"-artifact_prefix={finds}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(corpus), str(seeded)], check, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
