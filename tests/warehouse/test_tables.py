"""What tables are by name and by right: INFORMATION_SCHEMA, options, keys, partitions, row access, files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.errors import PorticoError
from portico.warehouse import catalog
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


@pytest.fixture
def warehouse(one_warehouse: Warehouse) -> Iterator[Warehouse]:
    one_warehouse.run(
        "CREATE SCHEMA d OPTIONS (description = 'all of it', labels = [('team', 'x')])", Asked("p")
    )
    yield one_warehouse
    one_warehouse.run("DROP SCHEMA d CASCADE", Asked("p"))


class Bucket:
    """A folder that stands for what is outside of the warehouse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def __call__(self, what: str, **arguments: Any) -> Any:
        if what == "put":
            target = self.folder / arguments["uri"].removeprefix("gs://b/").replace("/", "_")
            target.write_bytes(Path(arguments["path"]).read_bytes())
            return None
        names = [
            uri.removeprefix("gs://b/").replace("/", "_")
            for uri in arguments.get("uris") or [arguments.get("uri")]
        ]
        found = sorted(path for name in names for path in self.folder.glob(name))
        if what == "exists":
            return bool(found)
        return [{"path": str(path), "uri": f"gs://b/{path.name.replace('_', '/')}"} for path in found]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "bucket")


def rows(warehouse: Warehouse, text: str, **asked: Any) -> list[tuple[Any, ...]]:
    done = warehouse.run(text, Asked("p", "p.d", **asked))[-1]
    return [] if done.rows is None else [tuple(row.values()) for row in done.rows.to_pylist()]


def test_options_keys_and_columns_are_kept_and_shown(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE u (k INT64, PRIMARY KEY (k) NOT ENFORCED)")
    rows(
        warehouse,
        """CREATE TABLE t (id INT64 NOT NULL OPTIONS (description = 'the id'), s STRING DEFAULT 'x',
        r STRUCT<a INT64, b ARRAY<STRING>>, FOREIGN KEY (id) REFERENCES u(k) NOT ENFORCED)
        PARTITION BY RANGE_BUCKET(id, GENERATE_ARRAY(0, 100, 10)) CLUSTER BY s
        OPTIONS (friendly_name = 'T', labels = [('a', 'b')], require_partition_filter = TRUE)""",
    )
    rows(warehouse, "INSERT INTO t (id) VALUES (5), (15), (17)")
    with pytest.raises(PorticoError, match="without a filter over column"):
        rows(warehouse, "SELECT * FROM t")
    rows(
        warehouse,
        """ALTER TABLE t SET OPTIONS (description = "says \\"it\\"", require_partition_filter = FALSE)""",
    )
    rows(warehouse, "ALTER TABLE t ADD PRIMARY KEY (id) NOT ENFORCED, ALTER COLUMN s SET DEFAULT 'y'")
    rows(
        warehouse,
        "ALTER TABLE t ALTER COLUMN id DROP NOT NULL, ALTER COLUMN s SET OPTIONS (description = 'text')",
    )
    rows(warehouse, "INSERT INTO t (id) VALUES (NULL)")
    rows(warehouse, "ALTER TABLE t RENAME COLUMN s TO word, ADD COLUMN n INT64")
    assert rows(warehouse, "SELECT word, COUNT(*) FROM t GROUP BY 1 ORDER BY 1") == [("x", 3), ("y", 1)]
    assert rows(
        warehouse, "SELECT option_name, option_value FROM d.INFORMATION_SCHEMA.TABLE_OPTIONS WHERE table_name = 't'"
    ) == [
        ("description", '"says \\"it\\""'), ("friendly_name", '"T"'), ("labels", '[STRUCT("a", "b")]'),
        ("require_partition_filter", "false"),
    ]  # fmt: skip
    assert rows(
        warehouse,
        "SELECT partition_id, total_rows, total_logical_bytes FROM d.INFORMATION_SCHEMA.PARTITIONS "
        "WHERE table_name = 't' ORDER BY 1",
    ) == [("0", 1, 11), ("10", 2, 22), ("__NULL__", 1, 3)]
    assert rows(
        warehouse, "SELECT field_path, data_type, description FROM d.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS WHERE "
        "table_name = 't' ORDER BY 1",
    ) == [
        ("id", "INT64", "the id"), ("n", "INT64", None), ("r", "STRUCT<a INT64, b ARRAY<STRING>>", None),
        ("r.a", "INT64", None), ("r.b", "ARRAY<STRING>", None), ("word", "STRING", "text"),
    ]  # fmt: skip
    assert rows(
        warehouse,
        "SELECT constraint_name, constraint_type FROM d.INFORMATION_SCHEMA.TABLE_CONSTRAINTS ORDER BY 1",
    ) == [("t.fk$1", "FOREIGN KEY"), ("t.pk$", "PRIMARY KEY"), ("u.pk$", "PRIMARY KEY")]
    assert rows(warehouse, "SELECT option_name FROM INFORMATION_SCHEMA.SCHEMATA_OPTIONS ORDER BY 1") == [
        ("description",), ("labels",), ("location",),
    ]  # fmt: skip
    for project, datasets in (("p", [("d",)]), ("other", [])):
        assert rows(warehouse, f"SELECT schema_name FROM {project}.INFORMATION_SCHEMA.SCHEMATA") == datasets
    assert rows(warehouse, "SELECT table_name, total_rows FROM d.INFORMATION_SCHEMA.TABLE_STORAGE ORDER BY 1") == [
        ("t", 4), ("u", 0),
    ]  # fmt: skip
    [(ddl,)] = rows(warehouse, "SELECT ddl FROM d.INFORMATION_SCHEMA.TABLES WHERE table_name = 't'")
    rows(warehouse, ddl.replace("`p.d.t`", "again"))
    assert rows(warehouse, "SELECT COUNT(*) FROM again") == [(0,)]


def test_callers_see_the_rows_that_policies_grant(warehouse: Warehouse) -> None:
    rows(
        warehouse,
        "CREATE TABLE t AS SELECT 'a' AS who, 1 AS n UNION ALL SELECT 'b', 2 UNION ALL SELECT NULL, 3",
    )
    rows(
        warehouse,
        "CREATE ROW ACCESS POLICY own ON t GRANT TO ('user:a@x.org', 'domain:y.org') "
        "FILTER USING (STARTS_WITH(SESSION_USER(), who))",
    )
    rows(warehouse, "CREATE VIEW v AS SELECT n FROM t")
    for caller, seen in (("a@x.org", [(1,)]), ("b@y.org", [(2,)]), ("c@z.org", [])):
        assert rows(warehouse, "SELECT n FROM v", caller=caller) == seen
        assert rows(warehouse, "SELECT n FROM t WHERE n > 0 ORDER BY 1", caller=caller) == seen
    with pytest.raises(PorticoError, match="Access Denied"):
        rows(warehouse, "DELETE FROM t WHERE TRUE", caller="a@x.org")
    with pytest.raises(PorticoError, match="Already Exists"):
        rows(warehouse, "CREATE ROW ACCESS POLICY own ON t FILTER USING (TRUE)")
    rows(warehouse, "CREATE OR REPLACE ROW ACCESS POLICY own ON t GRANT TO ('allUsers') FILTER USING (TRUE)")
    assert rows(warehouse, "SELECT COUNT(*) FROM t", caller="c@z.org") == [(3,)]
    rows(warehouse, "DROP ROW ACCESS POLICY own ON t; DROP ALL ROW ACCESS POLICIES ON t")
    assert rows(warehouse, "SELECT COUNT(*) FROM t") == [(3,)]


def test_rows_go_to_files_and_come_from_files(warehouse: Warehouse, bucket: Bucket) -> None:
    rows(
        warehouse,
        "CREATE TABLE t AS SELECT 1 AS id, 'é' AS s, DATE '2024-01-02' AS d, NUMERIC '1.5' AS n, [1, 2] AS l",
    )
    for form, columns in (("PARQUET", "*"), ("AVRO", "*"), ("JSON", "*"), ("CSV", "id, s, d, n")):
        said = f"uri = 'gs://b/{form}-*', format = '{form}', header = TRUE"
        logical = ", enable_logical_types = TRUE" if form == "AVRO" else ""
        text = f"EXPORT DATA OPTIONS ({said}) AS SELECT {columns} FROM t"
        rows(warehouse, text, outside=bucket)
        with pytest.raises(PorticoError, match="overwrite"):
            rows(warehouse, text, outside=bucket)
        rows(
            warehouse,
            f"CREATE EXTERNAL TABLE x{form} OPTIONS (format = '{form}', uris = ['gs://b/{form}-*']{logical})",
            outside=bucket,
        )
        assert rows(
            warehouse, f"SELECT CAST(id AS INT64), s, CAST(d AS STRING) FROM x{form}", outside=bucket
        ) == [(1, "é", "2024-01-02")]
        rows(
            warehouse,
            f"LOAD DATA INTO loaded{form} FROM FILES (format = '{form}', uris = ['gs://b/{form}-*']{logical})",
            outside=bucket,
        )
        rows(
            warehouse,
            f"LOAD DATA INTO loaded{form} FROM FILES (format = '{form}', uris = ['gs://b/{form}-*']"
            f"{logical}{', skip_leading_rows = 1' if form == 'CSV' else ''})",
            outside=bucket,
        )
        assert rows(warehouse, f"SELECT CAST(id AS INT64), s FROM loaded{form}") == [(1, "é"), (1, "é")]
        with pytest.raises(PorticoError, match="it is a EXTERNAL"):
            rows(warehouse, f"DELETE FROM x{form} WHERE TRUE")
    with next(iter(bucket.folder.glob("CSV*"))).open() as file:
        assert list(csv.reader(file)) == [["id", "s", "d", "n"], ["1", "é", "2024-01-02", "1.5"]]
    for day in ("2024-01-01", "2024-01-02"):
        (bucket.folder / f"h_day={day}_x.json").write_text(json.dumps({"n": 1}) + "\n")
    rows(
        warehouse,
        "CREATE EXTERNAL TABLE hive OPTIONS (format = 'JSON', uris = ['gs://b/h/*'], "
        "hive_partition_uri_prefix = 'gs://b/h')",
        outside=bucket,
    )
    assert rows(warehouse, "SELECT n FROM hive WHERE day > DATE '2024-01-01'", outside=bucket) == [(1,)]
    for text, said in (
        ("EXPORT DATA OPTIONS (format = 'CSV') AS SELECT 1", "'uri' is missing"),
        ("EXPORT DATA OPTIONS (uri = 'gs://b/*', format = 'ORC') AS SELECT 1", "'ORC' is not a valid value"),
        ("EXPORT DATA OPTIONS (uri = 'gs://b/x', format = 'CSV') AS SELECT 1", "wild card"),
    ):
        with pytest.raises(PorticoError, match=said):
            rows(warehouse, text, outside=bucket)


def test_results_name_columns_of_one_name_apart(warehouse: Warehouse) -> None:
    done = warehouse.run(
        "SELECT a.x, b.x, c.x FROM (SELECT 1 AS x) a, (SELECT 2 AS x) b, (SELECT 3 AS x) c", Asked("p")
    )
    assert [one["name"] for one in done[-1].fields] == ["x", "x_1", "x_2"]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN more STRING",
        "BEGIN TRANSACTION; ALTER TABLE t ADD COLUMN more STRING; COMMIT TRANSACTION",
        "DECLARE n INT64 DEFAULT 1; ALTER TABLE t ADD COLUMN more STRING",
        "CREATE OR REPLACE TABLE t AS SELECT 1 AS id, CAST(NULL AS STRING) AS more",
    ],
)
def test_a_query_sees_a_table_as_the_last_change_left_it(warehouse: Warehouse, change: str) -> None:
    rows(warehouse, "CREATE TABLE t AS SELECT 1 AS id")
    for _ in range(2):
        assert rows(warehouse, "SELECT * FROM t") == [(1,)]
    rows(warehouse, change)
    assert rows(warehouse, "SELECT * FROM t") == [(1, None)]
    rows(warehouse, "DROP TABLE t")
    with pytest.raises(PorticoError, match="Not found: Table"):
        rows(warehouse, "SELECT * FROM t")


def test_what_a_rolled_back_transaction_changed_is_not_seen(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE t AS SELECT 1 AS id")
    rows(
        warehouse,
        "BEGIN TRANSACTION; ALTER TABLE t ADD COLUMN more STRING; SELECT * FROM t; ROLLBACK TRANSACTION",
    )
    assert rows(warehouse, "SELECT * FROM t") == [(1,)]


def test_table_is_no_reserved_word(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE t AS SELECT 1 AS id, 2 AS table")
    assert rows(warehouse, "SELECT id, table FROM t") == [(1, 2)]
    assert rows(warehouse, "SELECT (id, table), GREATEST(id, table), table + 1 FROM t")[0][1:] == (2, 3)
    assert rows(warehouse, "SELECT n FROM (SELECT id, table AS n FROM t)") == [(2,)]


def test_a_view_may_name_its_columns(warehouse: Warehouse) -> None:
    rows(
        warehouse, "CREATE VIEW d.named (one OPTIONS (description = 'first'), two) AS SELECT 1 AS a, 'x' AS b"
    )
    assert rows(warehouse, "SELECT two, one FROM d.named") == [("x", 1)]
    paths = "SELECT column_name, description FROM d.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS ORDER BY 1"
    assert rows(warehouse, paths) == [("one", "first"), ("two", None)]
    with pytest.raises(PorticoError, match="2 columns, its query 1"):
        rows(warehouse, "CREATE VIEW d.other (one, two) AS SELECT 1 AS a")


def test_a_view_may_aggregate_on_several_levels(warehouse: Warehouse) -> None:
    query = (
        "SELECT k, MAX(SUM(x) GROUP BY y) AS m, STRING_AGG(CAST(SUM(x) AS STRING), '-' GROUP BY y ORDER BY y) AS s "
        "FROM UNNEST([STRUCT('a' AS k, 1 AS x, 1 AS y), ('a', 3, 1), ('a', 2, 2), ('b', 5, 3)]) GROUP BY k"
    )
    rows(warehouse, f"CREATE VIEW d.levels AS {query}")
    assert rows(warehouse, "SELECT * FROM d.levels ORDER BY k") == [("a", 4, "4-2"), ("b", 5, "5")]


@pytest.mark.parametrize(("query", "place"), [("1", 1), ("1 AS a, UPPER('x')", 2), ("1 AS a, 1 + 1", 2)])
def test_a_table_of_a_query_needs_names(warehouse: Warehouse, query: str, place: int) -> None:
    with pytest.raises(PorticoError, match=f"must be named, but column {place} has no name"):
        rows(warehouse, f"CREATE TABLE d.unnamed AS SELECT {query}")
    rows(warehouse, "CREATE TABLE d.named (x INT64, y STRING) AS SELECT 1, 'x'")
    assert rows(warehouse, "SELECT x, y FROM d.named") == [(1, "x")]


def test_arrays_of_arrays_are_refused(warehouse: Warehouse) -> None:
    with pytest.raises(PorticoError, match="nested arrays are not supported"):
        rows(warehouse, "CREATE TABLE d.t (a ARRAY<ARRAY<INT64>>)")


def test_snapshots_and_options_of_routines_are_told(warehouse: Warehouse) -> None:
    rows(warehouse, "CREATE TABLE d.t AS SELECT 1 AS a")
    rows(warehouse, "CREATE SNAPSHOT TABLE d.kept CLONE d.t")
    rows(warehouse, "CREATE FUNCTION d.f(x INT64) AS (x) OPTIONS (description = 'same')")
    told = rows(warehouse, "SELECT table_name, base_table_name FROM d.INFORMATION_SCHEMA.TABLE_SNAPSHOTS")
    assert told == [("kept", "t")]
    told = rows(warehouse, "SELECT option_name, option_value FROM d.INFORMATION_SCHEMA.ROUTINE_OPTIONS")
    assert told == [("description", '"same"')]


def test_jobs_by_user_are_those_of_who_asks(warehouse: Warehouse) -> None:
    def jobs(what: str, **asked: str) -> list[dict[str, Any]]:
        return [
            {
                "configuration": {"jobType": "QUERY", "query": {"query": "SELECT 1"}}, "status": {"state": "DONE"},
                "jobReference": {"projectId": "p", "jobId": f"of-{name}"}, "user_email": name,
            }
            for name in ("ann", "bob")
        ]  # fmt: skip

    def seen(view: str) -> list[str]:
        asked = Asked("p", caller="bob", outside=jobs)
        text = f"SELECT job_id FROM `region-us`.INFORMATION_SCHEMA.{view} ORDER BY 1"
        table = warehouse.run(text, asked)[-1].rows
        assert table is not None
        return [str(one["job_id"]) for one in table.to_pylist()]

    assert seen("JOBS_BY_PROJECT") == ["of-ann", "of-bob"]
    assert seen("JOBS_BY_USER") == ["of-bob"]


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("day", {"type": "DAY", "field": "day"}),
        ("DATE_TRUNC(month, MONTH)", {"type": "MONTH", "field": "month"}),
        ("TIMESTAMP_TRUNC(hour, HOUR)", {"type": "HOUR", "field": "hour"}),
        ("DATE(hour)", {"type": "DAY", "field": "hour"}),
        ("_PARTITIONDATE", {"type": "DAY"}),
        ("TIMESTAMP_TRUNC(_PARTITIONTIME, HOUR)", {"type": "HOUR"}),
        ("DATE(_PARTITIONTIME)", {"type": "DAY"}),
    ],
)
def test_a_column_named_like_a_unit_of_time_partitions(warehouse: Warehouse, by: str, told: Any) -> None:
    text = f"CREATE TABLE d.units (day DATE, month DATE, hour TIMESTAMP) PARTITION BY {by}"
    warehouse.run(text, Asked("p"))
    with warehouse.reading() as cursor:
        assert catalog.require(cursor, "p", "d", "units").body["timePartitioning"] == told
