"""Servers for the tests that hold the house."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def portico_at_rest(new_portico: Any) -> Iterator[Any]:
    """A server of one test's own that has just started."""
    server = new_portico(fronts=2).start()
    yield server
    server.stop()
