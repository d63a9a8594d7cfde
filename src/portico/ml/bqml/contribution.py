"""CONTRIBUTION_ANALYSIS: which segments of the rows moved a metric between a control and a test set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml import segments
from portico.ml.bqml.answers import type_kind
from portico.ml.bqml.model import Given, Model, Settings, function
from portico.ml.bqml.options import COMMON, Option
from portico.ml.bqml.segments import Numbers, Segment
from portico.ml.errors import DataError

Told = dict[str, float | None]
_NAME = r"\s*(?:`([^`]+)`|(\w+))\s*"
_SUM = rf"SUM\s*\({_NAME}\)"
_METRIC = re.compile(rf"\s*{_SUM}(?:\s*/\s*(?:{_SUM}|COUNT\s*\(\s*DISTINCT\s{_NAME}\)))?\s*", re.IGNORECASE)
_SUMMABLE = (
    "metric_test", "metric_control", "difference", "relative_difference", "unexpected_difference",
    "relative_unexpected_difference", "apriori_support", "contribution",
)  # fmt: skip
_RATIO = (
    "metric_test", "metric_control", "metric_test_over_metric_control", "metric_test_over_complement",
    "metric_control_over_complement", "aumann_shapley_attribution", "apriori_support", "contribution",
)  # fmt: skip
_CATEGORY = (
    "metric_test", "metric_control", "difference", "relative_difference", "metric_test_over_population",
    "metric_control_over_population", "apriori_support", "contribution",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """CONTRIBUTION_METRIC: the sum of a column, alone, over another sum, or over the distinct values of a column."""

    top: str
    bottom: str = ""
    distinct: str = ""

    @classmethod
    def read(cls, text: str) -> Metric:
        found = _METRIC.fullmatch(text)
        if found is None:
            raise DataError(
                "CONTRIBUTION_METRIC must be SUM(column), SUM(column)/SUM(column) or "
                f"SUM(column)/COUNT(DISTINCT column), and is {text!r}"
            )
        one, other, third = (found[at] or found[at + 1] or "" for at in (1, 3, 5))
        return cls(one, other, third)


class Contribution(Model):
    TYPES: ClassVar[dict[str, str]] = {"CONTRIBUTION_ANALYSIS": "CONTRIBUTION_ANALYSIS"}
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | {
        "contribution_metric": Option("str"),
        "is_test_col": Option("str"),
        "dimension_id_cols": Option("list"),
        "min_apriori_support": Option("float", low=0, high=1),
        "top_k_insights_by_apriori_support": Option("int", low=1, high=1_000_000),
        "pruning_method": Option("str", "NO_PRUNING", ("NO_PRUNING", "PRUNE_REDUNDANT_INSIGHTS")),
    }

    def fit(self, given: Given) -> None:
        table = given.rows
        metric, test, names = self._read(table)
        keep = pa.array(np.ones(table.num_rows, bool))
        for name in (*names, test):
            keep = pc.and_(keep, pc.is_valid(table.column(name)))
        if missing := table.num_rows - (pc.sum(keep).as_py() or 0):
            self.run.warnings.append(f"{missing:,} rows with NULL in a dimension or in {test} were left out.")
        table = table.filter(keep)
        tested = np.asarray(table.column(test).to_numpy(), bool)
        if not tested.any() or tested.all():
            raise DataError(f"IS_TEST_COL {test} must be TRUE in some rows and FALSE in others")
        dimensions = [self._dimension(table.column(name), name) for name in names]
        measured = self._measured(table, metric, tested)
        least, most = self._support()
        found = segments.search(
            [codes for codes, _ in dimensions],
            [len(values) for _, values in dimensions],
            measured,
            least,
            most,
        )
        whole = measured.whole
        rows = [(one, _told(metric, one, whole)) for one in found]
        if self.options["pruning_method"] == "PRUNE_REDUNDANT_INSIGHTS":
            rows = _pruned(rows)
        rows.sort(key=lambda pair: -(pair[1]["contribution"] or 0.0))
        self.state |= {
            "dimensions": names,
            "types": [str(table.column(name).type) for name in names],
            "insights": [
                {
                    "places": {names[at]: dimensions[at][1][code] for at, code in segment.places},
                    "values": values,
                }
                for segment, values in rows
            ],
            "inputs": [{"name": one.name, "type": str(one.type)} for one in given.rows.schema],
        }
        self.run.step(None)

    # --- what it is given ---

    def _read(self, table: pa.Table) -> tuple[Metric, str, list[str]]:
        for name in ("contribution_metric", "is_test_col"):
            if not self.options[name]:
                raise DataError(f"CONTRIBUTION_ANALYSIS needs the option {name.upper()}")
        said = Metric.read(str(self.options["contribution_metric"]))
        metric = Metric(
            self._number(table, said.top),
            self._number(table, said.bottom) if said.bottom else "",
            _column(table, said.distinct, "CONTRIBUTION_METRIC") if said.distinct else "",
        )
        test = _column(table, str(self.options["is_test_col"]), "IS_TEST_COL")
        if not pa.types.is_boolean(table.column(test).type):
            raise DataError(f"IS_TEST_COL {test} must be BOOL, and is {table.column(test).type}")
        taken = {metric.top, metric.bottom, metric.distinct, test}
        if self.options["dimension_id_cols"] is None:
            names = [one for one in table.column_names if one not in taken]
        else:
            names = [_column(table, one, "DIMENSION_ID_COLS") for one in self.options["dimension_id_cols"]]
            if strange := [one for one in table.column_names if one not in taken | set(names)]:
                raise DataError(
                    "Only IS_TEST_COL's, DIMENSION_ID_COLS' and CONTRIBUTION_METRIC's columns may be in the query, "
                    f"and there is {strange[0]}"
                )
        if not names or len(set(names)) < len(names):
            raise DataError("CONTRIBUTION_ANALYSIS needs columns that are dimensions, each once")
        limit = 13 if self.options["min_apriori_support"] == 0 else 50
        if len(names) > limit:
            raise DataError(f"DIMENSION_ID_COLS may name {limit} columns at most, and are {len(names)}")
        return metric, test, names

    def _number(self, table: pa.Table, name: str) -> str:
        found = _column(table, name, "CONTRIBUTION_METRIC")
        kind = table.column(found).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise DataError(f"CONTRIBUTION_METRIC: {found} must be numbers, and is {kind}")
        return found

    def _dimension(self, column: pa.ChunkedArray, name: str) -> tuple[Numbers, list[Any]]:
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind)):
            raise DataError(f"DIMENSION_ID_COLS: {name} must be INT64, STRING or BOOL, and is {kind}")
        coded = column.combine_chunks().dictionary_encode()
        if isinstance(coded, pa.ChunkedArray):
            coded = coded.combine_chunks()
        return np.asarray(coded.indices.to_numpy(), np.int64), coded.dictionary.to_pylist()

    def _support(self) -> tuple[float, int | None]:
        """The least apriori support, and how many insights at most."""
        least, most = self.options["min_apriori_support"], self.options["top_k_insights_by_apriori_support"]
        if least is not None and most is not None:
            raise DataError(
                "Please specify only one of the MIN_APRIORI_SUPPORT or TOP_K_INSIGHTS_BY_APRIORI_SUPPORT options."
            )
        if most is not None:
            return 0.0, int(most)
        if least is None:
            self.options["min_apriori_support"] = least = 0.1
        return float(least), None

    def _measured(self, table: pa.Table, metric: Metric, tested: Numbers) -> segments.Measured:
        def numbers(name: str) -> Numbers:
            column = pc.fill_null(table.column(name).cast(pa.float64(), safe=False), 0.0)
            found: Numbers = np.asarray(column.to_numpy())
            if not np.isfinite(found).all():
                raise DataError(f"CONTRIBUTION_METRIC: {name} has infinite values or NaN")
            if (found < 0).any() and self.options["min_apriori_support"] != 0:
                raise DataError(
                    f"CONTRIBUTION_METRIC: {name} must not be below zero, unless MIN_APRIORI_SUPPORT is 0"
                )
            return found

        categories = None
        if metric.distinct:
            coded = table.column(metric.distinct).combine_chunks()
            if isinstance(coded, pa.ChunkedArray):
                coded = coded.combine_chunks()
            indices = pc.fill_null(coded.dictionary_encode().indices, -1)
            categories = np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)
        bottom = numbers(metric.bottom) if metric.bottom else None
        return segments.Measured(numbers(metric.top), bottom, categories, tested)

    # --- insights ---

    @function("ML.GET_INSIGHTS")
    def get_insights(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """Segments with what the metric was of them in the test and in the control set, the largest change first."""
        insights = self.state["insights"]
        names = self.state["dimensions"]
        made: dict[str, pa.Array] = {
            "contributors": pa.array(
                [_contributors(one["places"]) for one in insights], pa.list_(pa.string())
            )
        }
        for name, kind in zip(names, self.state["types"], strict=True):
            made[name] = pa.array([one["places"].get(name) for one in insights], pa.type_for_alias(kind))
        for name in self._columns():
            made[name] = pa.array([one["values"][name] for one in insights], pa.float64())
        return pa.table(made)

    def _columns(self) -> tuple[str, ...]:
        metric = Metric.read(str(self.options["contribution_metric"]))
        return _RATIO if metric.bottom else _CATEGORY if metric.distinct else _SUMMABLE

    def described(self) -> dict[str, Any]:
        shown = super().described()
        shown["featureColumns"] = [
            {"name": one["name"], "type": {"typeKind": type_kind(one["type"])}}
            for one in self.state["inputs"]
        ]
        return shown


def _column(table: pa.Table, name: str, option: str) -> str:
    have = {str(one).lower(): str(one) for one in table.column_names}
    if name.lower() not in have:
        raise DataError(f"{option}: {name} is no column of the query ({', '.join(table.column_names)})")
    return have[name.lower()]


def _contributors(places: dict[str, Any]) -> list[str]:
    if not places:
        return ["all"]
    return [f"{name}={str(one).lower() if isinstance(one, bool) else one}" for name, one in places.items()]


def _over(top: float | None, bottom: float | None) -> float | None:
    return None if top is None or not bottom else top / bottom


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _size(value: float | None) -> float | None:
    return None if value is None else abs(value)


def _summable(one: Segment, whole: Segment) -> Told:
    test, control = one.test.top, one.control.top
    rest_test, rest_control = whole.test.top - test, whole.control.top - control
    ratio = (
        1.0 if rest_test == rest_control == 0 else _over(rest_test, rest_control)
    )  # of all rows, nothing else moved
    expected = None if ratio is None else control * ratio
    unexpected = _less(test, expected)
    return {
        "metric_test": test,
        "metric_control": control,
        "difference": test - control,
        "relative_difference": _over(test - control, control),
        "unexpected_difference": unexpected,
        "relative_unexpected_difference": _over(unexpected, expected),
        "apriori_support": one.support,
        "contribution": abs(test - control),
    }


def _ratio(one: Segment, whole: Segment) -> Told:
    test, control = _over(one.test.top, one.test.bottom), _over(one.control.top, one.control.bottom)
    rest_test = _over(whole.test.top - one.test.top, whole.test.bottom - one.test.bottom)
    rest_control = _over(whole.control.top - one.control.top, whole.control.bottom - one.control.bottom)
    shapley = segments.aumann_shapley(one, whole)
    return {
        "metric_test": test,
        "metric_control": control,
        "metric_test_over_metric_control": _over(test, control),
        "metric_test_over_complement": _over(test, rest_test),
        "metric_control_over_complement": _over(control, rest_control),
        "aumann_shapley_attribution": shapley,
        "apriori_support": one.support,
        "contribution": _size(shapley),
    }


def _category(one: Segment, whole: Segment) -> Told:
    test, control = _over(one.test.top, one.test.distinct), _over(one.control.top, one.control.distinct)
    difference = _less(test, control)
    return {
        "metric_test": test,
        "metric_control": control,
        "difference": difference,
        "relative_difference": _over(difference, control),
        "metric_test_over_population": _over(test, _over(whole.test.top, whole.test.distinct)),
        "metric_control_over_population": _over(control, _over(whole.control.top, whole.control.distinct)),
        "apriori_support": one.support,
        "contribution": _size(difference),
    }


def _told(metric: Metric, one: Segment, whole: Segment) -> Told:
    if metric.bottom:
        return _ratio(one, whole)
    return _category(one, whole) if metric.distinct else _summable(one, whole)


def _pruned(rows: list[tuple[Segment, Told]]) -> list[tuple[Segment, Told]]:
    """Without those whose metric is that of a segment with more dimensions inside of them; never without all."""
    same: dict[tuple[float | None, float | None], list[Segment]] = {}
    for one, told in rows:
        same.setdefault((told["metric_test"], told["metric_control"]), []).append(one)
    kept = []
    for one, told in rows:
        alike = same[told["metric_test"], told["metric_control"]]
        if not one.places or not any(set(one.places) < set(other.places) for other in alike):
            kept.append((one, told))
    return kept
