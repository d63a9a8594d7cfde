"""How often WITH RECURSIVE goes round."""

from __future__ import annotations

import re
from typing import Any

import pytest

from portico.errors import InvalidArgument
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse

COUNTS = "WITH RECURSIVE t AS (SELECT 1 AS n UNION {how} SELECT n + 1 FROM t WHERE n < {last}) "
ENDED = re.escape("A recursive CTE has reached the maximum number of iterations: 500.")


def counted(warehouse: Warehouse, text: str) -> Any:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert done.rows is not None
    return done.rows.to_pylist()[0]["c"]


@pytest.mark.parametrize("how", ["ALL", "DISTINCT"])
def test_five_hundred_iterations_are_the_most(warehouse: Warehouse, how: str) -> None:
    text = COUNTS.format(how=how, last=500) + "SELECT COUNT(*) AS c FROM t"
    assert [counted(warehouse, text) for _ in range(2)] == [500, 500]
    with pytest.raises(InvalidArgument, match=ENDED):
        counted(warehouse, COUNTS.format(how=how, last=501) + "SELECT COUNT(*) AS c FROM t")


@pytest.mark.parametrize("text", [
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t) SELECT COUNT(*) AS c FROM t",
    "SELECT * FROM (WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL (SELECT n FROM t)) SELECT COUNT(*) AS c FROM t)",
    "SELECT (WITH RECURSIVE t AS (SELECT y AS n UNION ALL SELECT n FROM t) SELECT 1 FROM t) AS c FROM (SELECT 1 y)",
    "CREATE TABLE made AS WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t) SELECT n FROM t",
])  # fmt: skip
def test_an_endless_one_ends(warehouse: Warehouse, text: str) -> None:
    with pytest.raises(InvalidArgument, match=ENDED):
        counted(warehouse, text)


def test_a_wide_one_is_counted_by_its_iterations_not_its_rows(warehouse: Warehouse) -> None:
    rows = "SELECT 0 AS n FROM UNNEST(GENERATE_ARRAY(1, 20000))"
    text = (
        f"WITH RECURSIVE t AS ({rows} UNION ALL SELECT n + 1 FROM t WHERE n < 99) SELECT COUNT(*) AS c FROM t"
    )
    assert counted(warehouse, text) == 2_000_000
    inner = "WITH RECURSIVE t AS (SELECT y AS n UNION ALL SELECT n + 1 FROM t WHERE n < y + 400) SELECT MAX(n) FROM t"
    assert (
        counted(warehouse, f"SELECT SUM(({inner})) AS c FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS y")
        == 14502500
    )
