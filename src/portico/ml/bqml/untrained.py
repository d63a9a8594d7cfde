"""What is measured and explained without a model: ML.METRICS and AI.KEY_DRIVERS.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-metrics
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-ai-key-drivers
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml import measures
from portico.ml.bqml.columns import is_number, named
from portico.ml.bqml.contribution import Contribution
from portico.ml.bqml.model import Given
from portico.ml.bqml.options import Option, read
from portico.ml.errors import DataError

_TASKS = ("CLASSIFICATION", "REGRESSION")
_CLASSES = ("precision", "recall", "accuracy", "f1_score")
METRICS = {
    "predicted_col": Option("str"),
    "actual_col": Option("str"),
    "task_type": Option("str", None, _TASKS),
}
_SUM = re.compile(r"\s*SUM\s*\(\s*(.+?)\s*\)\s*", re.IGNORECASE)
DRIVERS = {
    "metric_col": Option("str"),
    "dimension_cols": Option("list"),
    "interest_label_col": Option("str"),
    "min_apriori_support": Option("float", low=0, high=1),
    "top_k": Option("int", low=1, high=1_000_000),
    "enable_pruning": Option("bool", True),
}
_RENAMED = {"contributors": "drivers", "metric_test": "metric_interest", "metric_control": "metric_reference"}


def metrics(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """How well a column predicts another; rows with a NULL in one are left out. BOOL is measured as the class TRUE, and
    STRING as the mean over all classes.

    Raises:
        DataError: a column is missing or of a wrong type.
    """
    _need("ML.METRICS", METRICS, settings)
    table, task = tables[0], settings["task_type"]
    found, truth = (
        table.column(named(table, settings[name], name)) for name in ("predicted_col", "actual_col")
    )
    if task == "REGRESSION":
        if not (is_number(found.type) and is_number(truth.type)):
            raise DataError(
                f"ML.METRICS of a regression needs two columns of numbers, not {found.type} and {truth.type}"
            )
    elif found.type != truth.type or not (pa.types.is_string(found.type) or pa.types.is_boolean(found.type)):
        raise DataError(
            "ML.METRICS of a classification needs two columns of STRING or two of BOOL, not "
            f"{found.type} and {truth.type}"
        )
    both = pc.and_(pc.is_valid(found), pc.is_valid(truth))
    found, truth = found.filter(both), truth.filter(both)
    if task == "REGRESSION":
        numbers = (one.cast(pa.float64(), safe=False).to_numpy() for one in (truth, found))
        told = measures.regression(*numbers)
    else:
        told = _classes(truth, found)
    return pa.table({name: pa.array([value], pa.float64()) for name, value in told.items()})


def _classes(truth: pa.ChunkedArray, found: pa.ChunkedArray) -> dict[str, float | None]:
    if not len(truth):
        return dict.fromkeys(_CLASSES)
    from sklearn.metrics import precision_recall_fscore_support

    one, other = np.array(truth.to_pylist(), object), np.array(found.to_pylist(), object)
    binary = pa.types.is_boolean(truth.type)
    labels = [True] if binary else sorted(set(one) | set(other))
    precision, recall, f1, _ = precision_recall_fscore_support(
        one.astype(bool if binary else str), other.astype(bool if binary else str), labels=labels, average="macro",
        zero_division=0.0,
    )  # fmt: skip
    values = (precision, recall, np.mean(one == other), f1)
    return {name: float(value) for name, value in zip(_CLASSES, values, strict=True)}


def key_drivers(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """Which segments moved a sum between the reference's rows and the interest's, as a model of CONTRIBUTION_ANALYSIS
    has them, without those that tell nothing more.

    Raises:
        DataError: a column is missing or of a wrong type, or what is asked excludes each other.
    """
    _need("AI.KEY_DRIVERS", {name: DRIVERS[name] for name in list(DRIVERS)[:3]}, settings)
    table = tables[0]
    if settings["min_apriori_support"] is not None and settings["top_k"] is not None:
        raise DataError("AI.KEY_DRIVERS takes min_apriori_support or top_k, not both")
    if not 1 <= len(settings["dimension_cols"]) <= 12:
        raise DataError("AI.KEY_DRIVERS takes 1 to 12 dimension_cols")
    summed = _SUM.fullmatch(settings["metric_col"])
    metric = named(table, summed[1].strip("`") if summed else settings["metric_col"], "metric_col")
    interest = named(table, settings["interest_label_col"], "interest_label_col")
    dimensions = [named(table, one, "dimension_cols") for one in settings["dimension_cols"]]
    if len({metric, interest, *dimensions}) < len(dimensions) + 2:
        raise DataError(
            "AI.KEY_DRIVERS: metric_col, interest_label_col and dimension_cols must be different columns"
        )
    pruned = "PRUNE_REDUNDANT_INSIGHTS" if settings["enable_pruning"] else "NO_PRUNING"
    options = {
        "contribution_metric": f"SUM(`{metric}`)",
        "is_test_col": interest,
        "dimension_id_cols": dimensions,
        "min_apriori_support": settings["min_apriori_support"],
        "top_k_insights_by_apriori_support": settings["top_k"],
        "pruning_method": pruned,
    }
    kind = "CONTRIBUTION_ANALYSIS"
    given = Given(
        table.select([metric, interest, *dimensions]), read(Contribution.OPTIONS, options, kind), {}, kind
    )
    model = Contribution(kind, given.options)
    model.fit(given)
    insights = model.get_insights([], {})
    return insights.rename_columns([_RENAMED.get(one, one) for one in insights.column_names])


def _need(name: str, declared: Mapping[str, Option], settings: Mapping[str, Any]) -> None:
    if missing := [one for one in declared if not settings[one]]:
        raise DataError(f"{name} needs {missing[0]} => …")
