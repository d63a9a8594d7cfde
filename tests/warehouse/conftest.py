"""One warehouse for all tests that look into one; each module, or each test, has a dataset `d` of its own there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


@pytest.fixture(scope="session")
def one_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    made = Warehouse(tmp_path_factory.mktemp("warehouse"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def warehouse(one_warehouse: Warehouse) -> Iterator[Warehouse]:
    one_warehouse.run("CREATE SCHEMA d", Asked("p"))
    yield one_warehouse
    one_warehouse.run("DROP SCHEMA d CASCADE", Asked("p"))
