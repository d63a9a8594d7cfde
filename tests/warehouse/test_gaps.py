# ruff: noqa: E501
"""GAP_FILL, on a table like that of Google's documentation of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from portico.errors import InvalidArgument
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


@pytest.fixture(scope="module", autouse=True)
def tables(warehouse: Warehouse) -> None:
    warehouse.run(
        """CREATE TABLE d.signals AS SELECT * FROM UNNEST(ARRAY<STRUCT<device_id INT64, time DATETIME, signal INT64, state STRING>>[
        (1, '2023-11-01 09:34:01', 74, 'INACTIVE'), (2, '2023-11-01 09:36:00', 77, 'ACTIVE'),
        (3, '2023-11-01 09:37:00', NULL, 'ACTIVE'), (3, '2023-11-01 09:37:00', 78, 'ACTIVE'), (4, '2023-11-01 09:38:01', 80, 'ACTIVE')])
        WHERE NOT (device_id = 3 AND signal IS NULL)""",
        Asked("p"),
    )


def rows(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert done.rows is not None
    return [tuple(row.values()) for row in done.rows.to_pylist()]


@pytest.mark.parametrize(("columns", "found"), [
    ("[('signal', 'locf')]", [(74,), (77,), (78,), (78,)]),
    ("[('signal', 'linear')]", [(75,), (77,), (78,), (80,)]),
    ("[('signal', 'null'), ('state', 'locf')]", [(None, "INACTIVE"), (77, "ACTIVE"), (78, "ACTIVE"), (None, "ACTIVE")]),
    ("[]", [(), (), (), ()]),
])  # fmt: skip
def test_gaps_are_filled(warehouse: Warehouse, columns: str, found: list[Any]) -> None:
    told = rows(
        warehouse,
        f"SELECT * FROM GAP_FILL(TABLE d.signals, ts_column => 'time', bucket_width => INTERVAL 1 MINUTE, value_columns => {columns}) ORDER BY time",
    )
    assert [one[0] for one in told] == [dt.datetime(2023, 11, 1, 9, minute) for minute in (35, 36, 37, 38)]
    assert [one[1:] for one in told] == found


def test_partitions_months_and_origins(warehouse: Warehouse) -> None:
    source = "(SELECT * FROM UNNEST(ARRAY<STRUCT<k STRING, t DATE, x FLOAT64>>[('a', '2024-01-15', 1.0), ('a', '2024-03-02', NULL), ('a', '2024-04-20', 4.0), (NULL, '2024-02-20', 7.0), (NULL, '2024-03-20', 9.0)]))"
    filled = f"GAP_FILL({source}, ts_column => 't', bucket_width => INTERVAL 1 MONTH, partitioning_columns => ['k'], value_columns => [('x', 'linear')]"
    assert rows(warehouse, f"SELECT k, t, x FROM {filled}) ORDER BY k, t") == [
        (None, dt.date(2024, 3, 1), pytest.approx(7 + 2 * 10 / 29)),
        ("a", dt.date(2024, 2, 1), pytest.approx(1 + 3 * 17 / 96)),
        ("a", dt.date(2024, 3, 1), pytest.approx(1 + 3 * 46 / 96)),
        ("a", dt.date(2024, 4, 1), pytest.approx(1 + 3 * 77 / 96)),
    ]
    assert (
        rows(warehouse, f"SELECT x FROM {filled}, ignore_null_values => FALSE) WHERE k = 'a'")
        == [(None,)] * 3
    )
    days = "GAP_FILL((SELECT t FROM UNNEST([TIMESTAMP '2024-01-15', '2024-01-17']) AS t), ts_column => 't', bucket_width => INTERVAL 1 DAY, origin => TIMESTAMP '2024-01-01 12:00:00')"
    assert [one.hour for (one,) in rows(warehouse, f"SELECT f.t FROM {days} AS f ORDER BY 1")] == [12, 12]
    assert rows(
        warehouse, f"WITH w AS (SELECT * FROM {days}) SELECT COUNT(*) FROM w JOIN d.signals ON TRUE"
    ) == [(8,)]


@pytest.mark.parametrize(("arguments", "said"), [
    ("TABLE d.signals, ts_column => 'time'", "needs ts_column and bucket_width"),
    ("TABLE d.signals, ts_column => 'time', bucket_width => INTERVAL 1 DAY, value_columns => [('signal', 'cubic')]", "must be locf, linear, null"),
    ("TABLE d.signals, ts_column => 'time', bucket_width => INTERVAL 1 DAY, value_columns => [('nothing', 'locf')]", "nothing"),
    ("TABLE d.signals, time_column => 'time', bucket_width => INTERVAL 1 DAY", "no argument time_column"),
    ("5, ts_column => 'time', bucket_width => INTERVAL 1 DAY", "a TABLE or a query"),
])  # fmt: skip
def test_what_is_wrong_is_told(warehouse: Warehouse, arguments: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        rows(warehouse, f"SELECT * FROM GAP_FILL({arguments})")
