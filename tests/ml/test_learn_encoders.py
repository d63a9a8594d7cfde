"""Encoders: one value is one code, online and in batch, however it was written."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portico.ml import values
from portico.ml.errors import DataError
from portico.ml.learn.encoders import CategoricalEncoder, TimestampEncoder
from portico.ml.learn.transform import ColumnSpec, Transform, fit_transform, parse_transformations
from portico.ml.tables import rows_to_batch

ROWS = 400
COLOURS = ["red", "green", "1", "2.5", "true", "Ünï"]


def fitted() -> Transform:
    generator = np.random.default_rng(0)
    words = generator.choice(["alpha", "beta", "gamma", "delta", "don't"], (ROWS, 5))
    table = pa.table(
        {
            "size": generator.normal(size=ROWS),
            "colour": generator.choice(COLOURS, ROWS),
            "city": generator.choice([str(n) for n in range(200)], ROWS),
            "when": [
                f"2020-{n % 12 + 1:02d}-{n % 28 + 1:02d} {n % 24:02d}:{n % 60:02d}:00" for n in range(ROWS)
            ],
            "note": [" ".join(line) + f" {n}" for n, line in enumerate(words)],
        }
    )
    wishes = {"size": "numeric", "colour": "categorical", "city": "categorical", "note": "text"}
    columns = [ColumnSpec(name, wishes.get(name, "auto")) for name in table.column_names]
    transform, matrix, keep, kinds = fit_transform(table, columns, generator.normal(size=(ROWS, 1)), 0)
    assert kinds["city"] == "high_cardinality"
    assert kinds["note"] == "text"
    assert keep.all()
    assert matrix.shape == (ROWS, transform.width)
    return transform


TRANSFORM = fitted()
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "size": st.one_of(
        st.none(), st.floats(width=64), st.integers(), st.booleans(), st.floats(allow_nan=False).map(repr)
    ),
    "colour": st.one_of(
        st.none(), st.sampled_from(COLOURS), st.text(), st.integers(), st.floats(), st.booleans()
    ),
    "city": st.one_of(st.none(), st.integers(-5, 300), st.integers(0, 300).map(str), st.text(max_size=3)),
    "when": st.one_of(
        st.none(),
        st.datetimes().map(str),
        st.dates().map(str),
        st.datetimes().map(lambda t: t.isoformat() + "Z"),
    ),
    "note": st.one_of(st.none(), st.text(), st.lists(st.sampled_from(["alpha", "BETA", "x"])).map(" ".join)),
}


def encoded(transform: Transform, row: Any) -> np.ndarray:
    """The row alone, as a single prediction encodes it."""
    vector = np.empty(transform.width)
    transform.pack_row(row, vector)
    return vector


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=CELLS), min_size=1, max_size=8))
@example([{"size": float("inf")}])
def test_a_row_encodes_alike_alone_and_in_a_table(rows: list[dict[str, Any]]) -> None:
    made = TRANSFORM.transform(pa.Table.from_batches([rows_to_batch([{"id": 0, **row} for row in rows])]))
    for position, row in enumerate(rows):
        try:
            alone = encoded(TRANSFORM, row)
        except DataError:
            assert made.bad[position]
            assert made.messages[position]
        else:
            assert not made.bad[position]
            assert alone.tobytes() == made.matrix[position].tobytes() or np.array_equal(
                alone, made.matrix[position], equal_nan=True
            )


@settings(deadline=None)
@given(st.integers(-(2**52), 2**52))
def test_an_integer_is_one_category_and_one_number_in_every_spelling(number: int) -> None:
    spellings: list[Any] = [number, float(number), str(number), f"{number}.0", f"{number}.00"]
    assert {values.category(spelling) for spelling in spellings} == {str(number)}
    assert {values.number(spelling) for spelling in spellings} == {float(number)}


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_one_category_in_every_spelling(number: float) -> None:
    assert values.category(number) == values.category(repr(number))


@pytest.mark.parametrize("spellings", [(True, "true", "True", "TRUE"), (False, "false", "False")])
def test_booleans_are_one_category(spellings: tuple[Any, ...]) -> None:
    assert len({values.category(spelling) for spelling in spellings}) == 1
    assert len({values.number(spelling) for spelling in spellings}) == 1


def test_codes_that_only_look_like_numbers_stay_apart() -> None:
    assert values.category("007") == "007"
    assert values.category("7") == "7"


@pytest.mark.parametrize("cell", [None, "", math.nan, "NaN"])
def test_missing_is_missing_in_every_column(cell: Any) -> None:
    nothing = encoded(TRANSFORM, {})
    assert np.array_equal(encoded(TRANSFORM, dict.fromkeys(CELLS, cell)), nothing, equal_nan=True)


def test_a_saved_transform_is_the_same() -> None:
    again = Transform.from_json(json.loads(json.dumps(TRANSFORM.to_json(), allow_nan=False)))
    row = {"size": 1.5, "colour": "red", "city": 7, "when": "2021-02-03", "note": "alpha beta"}
    assert encoded(again, row).tobytes() == encoded(TRANSFORM, row).tobytes()


@pytest.mark.parametrize(
    ("feature", "cell"),
    [
        ("size", "abc"),
        ("size", [1]),
        ("size", {}),
        ("colour", ["red"]),
        ("when", "yesterday"),
        ("when", 5),
        ("note", {}),
    ],
)
def test_a_wrong_type_names_the_feature(feature: str, cell: Any) -> None:
    with pytest.raises(DataError, match=feature) as caught:
        encoded(TRANSFORM, {feature: cell})
    assert caught.value.field == feature


def test_an_instance_must_be_an_object() -> None:
    with pytest.raises(DataError, match="object"):
        encoded(TRANSFORM, [1, 2])  # type: ignore[arg-type]


def test_bad_rows_are_marked_and_the_others_encoded() -> None:
    made = TRANSFORM.transform(pa.table({"size": ["1", "x", None], "colour": ["red", "red", "red"]}))
    assert made.bad.tolist() == [False, True, False]
    assert "size" in made.messages[1] and "'x'" in made.messages[1]
    assert made.matrix[0].tolist() == encoded(
        TRANSFORM, {"size": 1, "colour": "red"}
    ).tolist() or np.array_equal(
        made.matrix[0], encoded(TRANSFORM, {"size": 1, "colour": "red"}), equal_nan=True
    )


def test_words_that_stood_for_missing_in_training_do_so_later() -> None:
    cells = [str(n) for n in range(200)] + ["?"]
    transform, matrix, keep, _ = fit_transform(
        pa.table({"n": cells}), [ColumnSpec("n")], np.ones((201, 1)), 0
    )
    assert keep.all() and np.isnan(matrix[200, 0])
    assert np.isnan(encoded(transform, {"n": "?"})[0])
    with pytest.raises(DataError):
        encoded(transform, {"n": "!"})


def test_invalid_rows_are_dropped_from_training_unless_allowed() -> None:
    table = pa.table({"n": [*map(str, range(50)), "x"]})
    goals = np.ones((51, 1))
    _, _, keep, _ = fit_transform(table, [ColumnSpec("n", "numeric")], goals, 0)
    assert keep.tolist() == [True] * 50 + [False]
    transform, _, keep, _ = fit_transform(table, [ColumnSpec("n", "numeric", "", True)], goals, 0)
    assert keep.all()
    assert np.isnan(encoded(transform, {"n": "anything"})[0])


def test_target_statistics_of_training_rows_do_not_know_their_own_target() -> None:
    generator = np.random.default_rng(1)
    table = pa.table({"id": [f"name{n % 250}" for n in range(500)]})
    target = generator.normal(size=(500, 1))
    _, matrix, _, kinds = fit_transform(table, [ColumnSpec("id")], target, 0)
    assert kinds["id"] == "high_cardinality"
    assert abs(np.corrcoef(matrix[:, 0], target[:, 0])[0, 1]) < 0.15


@pytest.mark.parametrize(
    ("time_format", "cell"),
    [
        ("unix-seconds", 1577934245),
        ("unix-milliseconds", "1577934245000"),
        ("unix-microseconds", 1577934245000000.0),
        ("%d/%m/%Y %H:%M:%S", "02/01/2020 03:04:05"),
        ("", "2020-01-02T03:04:05Z"),
        ("", "2020-01-02T04:04:05+01:00"),
        ("", "2020-01-02 03:04:05"),
    ],
)
def test_times_are_read_in_their_format(time_format: str, cell: Any) -> None:
    assert values.timestamp(cell, time_format) == 1577934245.0


@pytest.mark.parametrize(
    ("years", "fields"), [(1, {"weekday", "hour"}), (3, {"year", "month", "day", "weekday", "hour"})]
)
def test_a_season_seen_once_is_not_learned_for_the_future(years: int, fields: set[str]) -> None:
    hours = np.arange(0, 365 * 24 * years, 7)
    times = [str(np.datetime64("2011-01-01T00") + np.timedelta64(int(h), "h")) + ":00:00Z" for h in hours]
    table, goals = pa.table({"t": times}), np.ones((len(hours), 1))
    [encoder] = fit_transform(table, [ColumnSpec("t")], goals, 0, future=True)[0].encoders
    assert isinstance(encoder, TimestampEncoder)
    assert set(encoder.fields) - {"day_of_year"} == fields
    assert encoder.elapsed == (years > 1)
    [encoder] = fit_transform(table, [ColumnSpec("t")], goals, 0)[0].encoders
    assert isinstance(encoder, TimestampEncoder) and encoder.elapsed


def test_transformations_are_read_as_google_writes_them() -> None:
    assert parse_transformations(
        [
            {"auto": {"columnName": "a"}},
            {"numeric": {"column_name": "b", "invalidValuesAllowed": True}},
            {"timestamp": {"columnName": "c", "timeFormat": "unix-seconds"}},
        ]
    ) == [
        ColumnSpec("a"),
        ColumnSpec("b", "numeric", "", True),
        ColumnSpec("c", "timestamp", "unix-seconds"),
    ]
    with pytest.raises(DataError, match="repeated_numeric"):
        parse_transformations([{"repeated_numeric": {"columnName": "a"}}])
    with pytest.raises(DataError, match="two transformations"):
        parse_transformations([{"auto": {"columnName": "a"}}, {"text": {"columnName": "a"}}])


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_only_what_is_more_than_chance_orders_the_categories(apart: float) -> None:
    """An order by means that differ by chance would tell rows of their own targets."""
    generator = np.random.default_rng(0)
    groups = np.concatenate([np.arange(50), generator.integers(0, 50, 1950)])
    goals = generator.normal(size=2000) + apart * generator.normal(size=50)[groups]
    codes = CategoricalEncoder.fit("city", pa.array([f"c{group}" for group in groups]), goals[:, None]).codes
    means = [goals[groups == group].mean() for group in range(50)]
    order = [codes[f"c{group}"] for group in range(50)]
    likeness = np.corrcoef(order, means)[0, 1]
    assert likeness > 0.9 if apart else abs(likeness) < 0.5
