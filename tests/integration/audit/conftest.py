"""Stores that agree, to be put at odds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.audited import Audited, audited


@pytest.fixture(scope="module")
async def world(stack, tmp_path_factory) -> AsyncIterator[Audited]:
    """Stores that are shared by those who look at their own wallets only."""
    async with audited(stack.environment(), tmp_path_factory.mktemp("audit")) as shared:
        yield shared


@pytest.fixture
async def fresh(stack, tmp_path) -> AsyncIterator[Audited]:
    """Stores of the test's own."""
    async with audited(stack.environment(), tmp_path) as own:
        yield own
