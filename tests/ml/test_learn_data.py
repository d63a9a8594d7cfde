"""Files, schemas and splits."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portico.ml import parquet_files, schema, tables
from portico.ml.errors import DataError
from portico.ml.learn.split import SplitSpec, split_rows
from portico.ml.schema import describe, describe_column
from portico.ml.tables import iter_batches, read


def test_csv_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('n,s,q\n1,x,"a,\nb"\n2.5,,c\n')
    (tmp_path / "a.jsonl").write_text(
        '{"n": 1, "s": "x", "q": "a,\\nb"}\n\n{"n": 2.5, "s": null, "q": "c"}\n'
    )
    pq.write_table(pa.table({"n": [1, 2.5], "s": ["x", None], "q": ["a,\nb", "c"]}), tmp_path / "a.parquet")
    made = [read([tmp_path / f"a.{suffix}"]).table for suffix in ("csv", "jsonl", "parquet")]
    for table in made:
        assert table["s"].to_pylist() == ["x", None]
        assert table["q"].to_pylist() == ["a,\nb", "c"]
        assert [float(cell) for cell in table["n"].to_pylist()] == [1, 2.5]
    assert made[0]["n"].to_pylist() == ["1", "2.5"]


def test_files_of_different_columns_and_types_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,a\n1,x\n")
    (tmp_path / "b.jsonl").write_text('{"b": "y", "n": "2"}\n')
    (tmp_path / "c.jsonl").write_text('{"n": 3}\n{"n": "four"}\n')
    made = read([tmp_path / name for name in ("a.csv", "b.jsonl", "c.jsonl")])
    assert made.notes == [
        "column 'a' is not in all files: 3 of 4 rows have no value for it",
        "column 'b' is not in all files: 3 of 4 rows have no value for it",
    ]
    assert [made.place(row) for row in (0, 1, 3)] == ["a.csv, row 1", "b.jsonl, row 1", "c.jsonl, row 2"]
    assert made.table.to_pydict() == {
        "n": ["1", "2", "3", "four"],
        "a": ["x", None, None, None],
        "b": [None, "y", None, None],
    }


def test_shards_have_the_first_ones_header_or_none(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("")
    (tmp_path / "1.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,x\r\n")
    (tmp_path / "2.csv").write_text('2,"y\ny"\n3,z\n')
    (tmp_path / "3.csv").write_text("a,b\n4,\n\n")
    made = read([tmp_path / f"{n}.csv" for n in (3, 2, 1, 0)])
    assert made.table.to_pydict() == {"a": ["4", "2", "3", "1"], "b": [None, "y\ny", "z", "x"]}
    assert made.notes == ["2.csv has no header line; its first line was read as data", "0.csv is empty"]
    assert made.place(2) == "2.csv, row 2"
    assert read([tmp_path / "0.csv", tmp_path / "1.csv"]).place(0) == "1.csv, row 1"
    for other in ("b,a\n5,6\n", "a,c\n5,6\n", "a\n5\n", "a,b,c\n5,6,7\n"):
        (tmp_path / "2.csv").write_text(other)
        with pytest.raises(DataError, match=r"the header of 2.csv is not that of 1.csv"):
            read([tmp_path / f"{n}.csv" for n in (3, 2, 1, 0)])


def test_what_is_guessed_or_left_out_of_a_header_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",a,b,\n0,1,2,\n1,3,4,\n")
    made = read([tmp_path / "a.csv"])
    assert made.table.to_pydict() == {"a": ["1", "3"], "b": ["2", "4"]}
    assert made.notes == [
        "column 1 has no name and was left out, by the header of a.csv",
        "column 4 has no name and was left out, by the header of a.csv",
    ]
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    assert read([tmp_path / "a.csv"]).notes == [
        "the first line of a.csv, all numbers, was taken for the header"
    ]


def test_numbers_of_two_kinds_meet_without_a_loss(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1, "id": 9007199254740993, "z": "00123"}\n')
    (tmp_path / "b.jsonl").write_text('{"n": 2.5, "id": 0.5, "z": "4"}\n')
    made = read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert made.table["n"].to_pylist() == [1.0, 2.5]
    assert made.table["id"].to_pylist() == ["9007199254740993", "0.5"]
    assert made.table["z"].to_pylist() == ["00123", "4"]
    assert made.notes == [
        "column 'id' has values of different types and was read as text",
    ]


def test_a_few_bytes_that_stand_for_gigabytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (parquet_files, tables):
        monkeypatch.setattr(module, "table_bytes", lambda: 64 << 20)
    part = pa.table({"x": pa.array(np.zeros(1 << 20, np.int64))})
    with pq.ParquetWriter(tmp_path / "runs.parquet", part.schema) as writer:
        for _ in range(9):
            writer.write_table(part)
    # A dictionary of one text of a megabyte, which each row names.
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"x": text}), tmp_path / "texts.parquet")
    for name in ("runs.parquet", "texts.parquet"):
        assert (tmp_path / name).stat().st_size < 1 << 18
        with pytest.raises(DataError, match=f"{name}: the table takes at least .* are read as one table"):
            read([tmp_path / name])
    assert next(iter_batches([tmp_path / "texts.parquet"])).nbytes < 64 << 20


def test_nested_json_asks_for_no_more_than_its_size(tmp_path: Path) -> None:
    rows = [json.dumps({"keys": {f"k{n}": n}}) for n in range(3000)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    table = read([tmp_path / "a.jsonl"]).table
    assert table.nbytes < 10 * (tmp_path / "a.jsonl").stat().st_size
    assert table["keys"][7].as_py() == '{"k7": 7}'
    (tmp_path / "a.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"a.jsonl, line 1: not JSON"):
        read([tmp_path / "a.jsonl"])
    (tmp_path / "a.jsonl").write_text('{"a": "' + "x" * (17 << 20))
    with pytest.raises(DataError, match=r"a.jsonl, line 1: it is longer than 16 MiB"):
        read([tmp_path / "a.jsonl"])


def test_batches_are_bounded_and_gzip_is_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("n\n" + "\n".join(map(str, range(10_000))))
    batches = list(iter_batches([tmp_path / "a.csv.gz"], max_rows=3000))
    assert max(batch.num_rows for batch in batches) == 3000
    assert sum(batch.num_rows for batch in batches) == 10_000


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "a,a\n1,2\n", "'a' stands twice"),
        ("a.csv", "a,b\n1,2\n\n1\n", "a.csv, line 4: it has 1 cells; the header has 2"),
        ("a.jsonl", '{"a": 1}\n{oops\n', "line 2"),
        ("a.csv", b"a,b\n1,2\n3,caf\xe9\n", r"a.csv, line 3: not UTF-8 text: b'caf\\xe9'"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "a.csv is not UTF-8 text, it looks like UTF-16"),
        ("a.csv", "a;b\n1;2\n", "commas must stand between cells"),
        ("a.csv", "a\tb\n1\t2\n", "commas must stand between cells"),
        ("a.csv", "a,b\r1,2\r", "end in CR alone"),
        ("a.csv", 'a,b\n1,"2\n' + "3,4\n" * 2_000_000, "a quote is never closed"),
        ("a.csv", "a,b\n", "no row of data in a.csv"),
        ("a.csv", "", "no row of data in a.csv"),
        ("a.csv.gz", b"\x1f\x8bnonsense", "a.csv.gz cannot be read as csv"),
        ("a.jsonl", "[1]\n", "not a JSON object"),
        ("a.parquet", "nonsense", "a.parquet cannot be read as parquet"),
        ("a.xlsx", "", "the name ends with none of"),
    ],
)
def test_unreadable_files_say_which_and_why(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=says):
        read([tmp_path / name])


def test_kinds_are_recognised() -> None:
    rows = 300
    table = pa.table(
        {
            "number": [str(n / 3) for n in range(rows)],
            "integer": list(range(rows)),
            "code": [f"0{n % 50}" for n in range(rows)],
            "yes": ["True", "False"] * (rows // 2),
            "boolean": [True, False, None] * (rows // 3),
            "colour": ["red", "green", "blue"] * (rows // 3),
            "name": [f"name {n}" for n in range(rows)],
            "review": [f"a rather long review number {n}" for n in range(rows)],
            "day": [f"2020-01-{n % 28 + 1:02d}" for n in range(rows)],
            "stamp": pa.array(range(rows), pa.timestamp("s")),
            "same": ["x"] * rows,
            "nothing": pa.nulls(rows),
            "blank": [""] * rows,
            "list": [[1, 2]] * rows,
        }
    )
    assert {column.name: column.kind for column in describe(table)} == {
        "number": "numeric",
        "integer": "numeric",
        "code": "categorical",
        "yes": "categorical",
        "boolean": "categorical",
        "colour": "categorical",
        "name": "high_cardinality",
        "review": "text",
        "day": "timestamp",
        "stamp": "timestamp",
        "same": "constant",
        "nothing": "missing",
        "blank": "missing",
        "list": "unsupported",
    }


def test_statistics_are_those_of_numpy_and_json() -> None:
    cells = np.random.default_rng(0).normal(size=1000)
    written = [str(cell) for cell in cells] + [None, ""]
    found = describe_column("x", pa.array(written))
    assert (found.count, found.missing, found.distinct) == (1002, 2, 1000)
    assert found.mean == pytest.approx(cells.mean())
    assert found.std == pytest.approx(cells.std())
    assert found.quantiles["0.25"] == pytest.approx(np.quantile(cells, 0.25))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["kind"] == "numeric"
    assert describe_column("c", pa.array(["a", "b", "a"])).top == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2.50", "2.5", None, "-0"],
        ["1", "nan", "2"],
        ["007", "8", "9"],
        ["1", "x", "2"],
        ["9007199254740993", "9007199254740992"],
        ["inf", "1", "2"],
        [1, 2, None, 2],
        [0.5, float("nan"), None, 1.0],
        ["1", "1.0"],
        [None, None],
    ],
)
def test_columns_of_numbers_are_described_at_once_as_cell_by_cell(
    cells: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    column = pa.chunked_array([pa.array(cells)])
    found = describe_column("x", column)
    monkeypatch.setattr(schema, "_plain_numbers", lambda name, column: None)
    assert found == describe_column("x", column)


def test_fractions_are_random_seeded_and_disjoint() -> None:
    table = pa.table({"x": range(1000)})
    first = split_rows(table, SplitSpec(seed=1))
    again = split_rows(table, SplitSpec(seed=1))
    assert [len(first.training), len(first.validation), len(first.test)] == [800, 100, 100]
    assert np.array_equal(first.training, again.training)
    assert not np.array_equal(first.training, split_rows(table, SplitSpec(seed=2)).training)
    everything = np.concatenate([first.training, first.validation, first.test])
    assert sorted(everything.tolist()) == list(range(1000))


def test_predefined_sets_in_both_cases() -> None:
    table = pa.table({"set": ["training", "TRAIN", "VALIDATION", "test", "TEST", None]})
    made = split_rows(table, SplitSpec("predefined", "set"))
    assert (made.training.tolist(), made.validation.tolist(), made.test.tolist()) == ([0, 1], [2], [3, 4])


def test_rows_whose_split_cell_says_nothing_are_left_out_and_counted() -> None:
    marks = ["training", "UNASSIGNED", "Validate", "", None, "holdout", "test", "UNASSIGNED"]
    made = split_rows(pa.table({"set": marks}), SplitSpec("predefined", "set"))
    assert (made.training.tolist(), made.validation.tolist(), made.test.tolist()) == ([0], [2], [6])
    assert (made.ignored, made.invalid) == (5, {"UNASSIGNED": 2, "holdout": 1})
    times = ["2020-01-02", "", "not a time", "2020-01-01", None, "2020-01-03"]
    made = split_rows(pa.table({"t": times}), SplitSpec("timestamp", "t", 0.4, 0.3, 0.3))
    assert (made.training.tolist(), made.validation.tolist(), made.test.tolist()) == ([3], [0], [5])
    assert (made.ignored, made.invalid) == (3, {"not a time": 1})


def test_timestamps_train_on_the_oldest_whatever_the_order() -> None:
    days = np.random.default_rng(0).permutation(100)
    table = pa.table({"t": [f"2020-{d // 28 + 1:02d}-{d % 28 + 1:02d}T00:00:00Z" for d in days]})
    made = split_rows(table, SplitSpec("timestamp", "t"))
    assert days[made.training].tolist() == list(range(80))
    assert days[made.test].tolist() == list(range(90, 100))


def test_strata_are_mirrored_in_every_set() -> None:
    labels = np.array(["a"] * 700 + ["b"] * 250 + ["c"] * 50)
    made = split_rows(pa.table({"y": labels}), SplitSpec("stratified", "y"))
    for rows in (made.training, made.validation, made.test):
        assert abs(np.mean(labels[rows] == "a") - 0.7) < 0.02
        assert abs(np.mean(labels[rows] == "c") - 0.05) < 0.02


@pytest.mark.parametrize(
    ("spec", "says", "field"),
    [
        (SplitSpec("predefined", "no"), "'no' is not in the data", "no"),
        (SplitSpec("predefined", "x"), "marks no row as training.* it holds '0'", "x"),
        (SplitSpec("timestamp", "x"), "is not a time", "x"),
        (SplitSpec("stratified", "x"), "must be categorical", "x"),
        (SplitSpec(training=0.9), "sum to 1.1", "trainingFraction"),
        (SplitSpec(training=-1), "between 0 and 1", "trainingFraction"),
        (SplitSpec(training=0), "nothing to train on", "trainingFraction"),
    ],
)
def test_bad_splits_name_the_column(spec: SplitSpec, says: str, field: str) -> None:
    table = pa.table({"x": range(9), "gap": ["2020-01-01"] * 3 + [None] + ["2020-01-02"] * 5})
    with pytest.raises(DataError, match=says) as caught:
        split_rows(table, spec)
    assert caught.value.field == field


def test_deeply_nested_cells_are_text_and_take_no_memory():
    from portico.ml.tables import rows_to_batch

    deep: object = 1
    for _ in range(900):
        deep = {"a": deep}
    batch = rows_to_batch([{"x": deep, "y": {"b": [1]}}, {"x": {"a": 1}, "y": None}])
    assert str(batch.schema.field("x").type) == "string" and batch["x"][1].as_py() == '{"a": 1}'
    assert batch["y"].to_pylist() == [{"b": [1]}, None]
