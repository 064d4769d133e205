"""A copy of the tree with a Python environment of its own, in which one mutant after another is made and undone.

Tests start workers as processes, with an environment that names no path: those find the code by the interpreter that
runs them. So the copy has an interpreter whose only `worker` is the copy's; everything else it shares with the one
that runs this. `prove_isolation` shows it by breaking the copy: what still runs then would be other code.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mutants.errors import MutantsError
from mutants.mutant import Mutant

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = ".venv"
BROKEN = 77
"""The exit code of whatever imports a broken copy."""

WALLEX = """\
#!{python}
import sys
from worker.cli import main
sys.exit(main())
"""


def copy_tree(root: Path) -> None:
    """Copy what git does not ignore, as it stands in the working tree, to `root`, with an environment of its own.

    Raises `MutantsError` where the project is no git checkout.
    """
    listed = subprocess.run(  # noqa: S603
        ["git", "-C", PROJECT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        raise MutantsError(f"{PROJECT} cannot be copied: {listed.stderr.strip()}; expected a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        source, target = PROJECT / name, root / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    _make_environment(root)
    prove_isolation(root)


def interpreter(root: Path) -> Path:
    """The Python that has the code in `root`."""
    return root / ENVIRONMENT / "bin" / "python"


@contextmanager
def mutated(root: Path, mutant: Mutant) -> Iterator[None]:
    """Make `mutant` in the copy, and undo it behind the block."""
    with _changed(root / mutant.file, mutant.old, mutant.new):
        yield


def prove_isolation(root: Path) -> None:
    """Raise `MutantsError` unless Python and `wallex` of the copy run its code, whatever their environment says."""
    python = interpreter(root)
    programs: list[list[Path | str]] = [[python, "-c", "import worker.cli"], [python.with_name("wallex"), "--version"]]
    begin = '"""'
    with _changed(root / "worker" / "__init__.py", begin, f"raise SystemExit({BROKEN})\n{begin}", count=1):
        broken = [_exit_code(program) for program in programs]
    whole = [_exit_code(program) for program in programs]
    if broken != [BROKEN] * len(programs) or whole != [0] * len(programs):
        raise MutantsError(
            f"the copy in {root} does not run its own code: exit codes {broken} where it was broken, expected "
            f"{BROKEN}, and {whole} where it was whole; look for a .pth file that names another tree"
        )


def _make_environment(root: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(root / ENVIRONMENT)
    shared = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    # Packages there are found, but not their .pth files: those of an editable install would lead back to its tree.
    for packages in (root / ENVIRONMENT).glob("lib*/python*/site-packages"):
        (packages / "mutants.pth").write_text("\n".join([str(root), *shared]) + "\n", encoding="utf-8")
    wallex = interpreter(root).with_name("wallex")
    wallex.write_text(WALLEX.format(python=interpreter(root)), encoding="utf-8")
    wallex.chmod(0o755)


@contextmanager
def _changed(file: Path, old: str, new: str, count: int = -1) -> Iterator[None]:
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new, count), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def _exit_code(program: list[Path | str]) -> int:
    return subprocess.run(program, cwd="/", env={}, capture_output=True, check=False).returncode  # noqa: S603
