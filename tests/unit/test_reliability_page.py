"""docs/reliability.md names tests, which must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
NAMED = re.findall(r"`(\w+(?:/\w+)+\.py)::(test_\w+)`", (PROJECT / "docs" / "reliability.md").read_text())


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_is_there(file, name):
    """Whoever renames it finds the page."""
    assert f"def {name}(" in (PROJECT / "tests" / file).read_text()


def test_the_page_names_tests():
    """The pattern above fits how it writes them."""
    assert len(NAMED) > 40
