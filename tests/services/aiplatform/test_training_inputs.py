"""Google's JSON of an AutoML tabular training, and what is refused in it."""

from __future__ import annotations

from typing import Any

import pytest

from portico.errors import InvalidArgument, PorticoError
from portico.services.registry.training_inputs import spec_of


def pipeline(split: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    given = {
        "targetColumn": "y",
        "predictionType": "regression",
        "transformations": [{"auto": {"columnName": "x"}}],
    }
    return {"trainingTaskInputs": given | inputs, "inputDataConfig": {"datasetId": "1"} | (split or {})}


def test_names_come_in_both_casings_and_numbers_as_text():
    spec = spec_of(
        {
            "trainingTaskInputs": {
                "target_column": "y",
                "prediction_type": "classification",
                "transformations": [{"numeric": {"column_name": "x"}}],
                "train_budget_milli_node_hours": "500",
                "optimization_objective": "minimize-log-loss",
                "optimization_objective_recall_value": None,
            }
        },
        2,
    )
    assert (spec.target, spec.budget_seconds, spec.optimization_objective) == (
        "y",
        1800.0,
        "minimize-log-loss",
    )
    assert [(c.name, c.transformation) for c in spec.columns] == [("x", "numeric")]


@pytest.mark.parametrize(
    ("split", "kind", "column"),
    [
        ({}, "fraction", ""),
        (
            {"fractionSplit": {"trainingFraction": 0.6, "validationFraction": 0.2, "testFraction": 0.2}},
            "fraction",
            "",
        ),
        ({"predefinedSplit": {"key": "use"}}, "predefined", "use"),
        ({"timestampSplit": {"key": "ts", "trainingFraction": 0.8, "testFraction": 0.2}}, "timestamp", "ts"),
        ({"stratifiedSplit": {"key": "y"}}, "stratified", "y"),
    ],
)
def test_each_split_is_understood(split, kind, column):
    spec = spec_of(pipeline(split), 1)
    assert (spec.split.kind, spec.split.column) == (kind, column)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictionType": "ranking"}, "predictionType"),
        ({"targetColumn": None}, "targetColumn is missing"),
        ({"trainBudgetMilliNodeHours": 0}, "above 0"),
        ({"trainBudgetMilliNodeHours": 72001}, "at most 72000"),
        ({"trainBudgetMilliNodeHours": "soon"}, "must be a number"),
        ({"optimizationObjective": "minimize-log-loss"}, "must be one of"),
        ({"transformations": [{"guess": {"columnName": "x"}}]}, "guess"),
        ({"weightColumn": "x"}, "weight column 'x' cannot be specified in transformations"),
        ({"weightColumnName": "x"}, "weight column 'x' cannot be specified in transformations"),
        ({"weightColumn": "y"}, "target can't be the weight"),
        ({"colour": "red"}, "colour"),
        ({"disableEarlyStopping": "yes"}, "true or false"),
        ({"exportEvaluatedDataItemsConfig": {"destinationBigqueryUri": "bq://a.b"}}, "Invalid BigQuery URI"),
        ({"exportEvaluatedDataItemsConfig": {"table": "bq://a.b.c"}}, "no more"),
        ({"exportEvaluatedDataItemsConfig": {"overrideExistingTable": "yes"}}, "true or false"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, message):
    with pytest.raises(PorticoError, match=message):
        spec_of(pipeline(**change), 1)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"predefinedSplit": {"key": "a"}, "fractionSplit": {}}, "Give one split"),
        ({"timestampSplit": {}}, "key is missing"),
        ({"filterSplit": {"trainingFilter": "*"}}, "filterSplit"),
    ],
)
def test_an_impossible_split_is_refused(split, message):
    with pytest.raises(InvalidArgument, match=message):
        spec_of(pipeline(split), 1)
