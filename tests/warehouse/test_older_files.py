"""A warehouse's file that an older version wrote."""

from __future__ import annotations

from pathlib import Path

from portico.warehouse import bignumeric
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


def test_bignumerics_of_eighteen_places_become_whole_ones(tmp_path: Path) -> None:
    made = Warehouse(tmp_path)
    made.run("CREATE SCHEMA d", Asked("p"))
    made.run("CREATE TABLE d.t AS SELECT BIGNUMERIC '1.5' AS b UNION ALL SELECT NULL", Asked("p"))
    with made.transaction() as cursor:
        [(name,)] = cursor.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'data'"
        ).fetchall()
        kind = "DECIMAL(38,18)"
        told = f"ALTER b SET DATA TYPE {kind} USING CAST(gs_py_big_text(b) AS {kind})"
        cursor.execute(f'ALTER TABLE w.data."{name}" {told}')
    made.close()
    again = Warehouse(tmp_path)
    try:
        done = again.run("SELECT b + BIGNUMERIC '1e-38' AS b FROM d.t WHERE b > 1", Asked("p"))[-1]
        assert done.rows is not None
        assert [bignumeric.shown(row["b"]) for row in done.rows.to_pylist()] == [f"1.5{'0' * 36}1"]
    finally:
        again.close()
