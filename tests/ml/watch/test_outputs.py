"""Answers of every shape as columns."""

from __future__ import annotations

import pytest

from portico.ml.watch.outputs import display_name, outputs_table


@pytest.mark.parametrize(
    ("answers", "columns", "kinds"),
    [
        ([1.5, 2], {"": [1.5, 2.0]}, {"": "numeric"}),
        ([{"value": 3.0, "lower_bound": 1.0}], {"": [3.0]}, {"": "numeric"}),
        (
            [{"classes": ["no", "yes"], "scores": [0.2, 0.8]}, {"classes": ["no", "yes"], "scores": [0.9, 0.1]}],
            {"": ["yes", "no"], ":no": [0.2, 0.9], ":yes": [0.8, 0.1]},
            {"": "categorical", ":no": "numeric", ":yes": "numeric"},
        ),
        ([[0.7, 0.3]], {"": ["0"], ":0": [0.7], ":1": [0.3]}, {"": "categorical", ":0": "numeric", ":1": "numeric"}),
        (["cat", True, None], {"": ["cat", "true", None]}, {"": "categorical"}),
        ([{"a": 0.25, "b": 0.75}], {"": ["b"], ":a": [0.25], ":b": [0.75]}, None),
        ([{"text": "x"}, 2.0], {"": [None, 2.0]}, {"": "numeric"}),
    ],
)  # fmt: skip
def test_answers_become_columns(answers, columns, kinds):
    batch, found = outputs_table(answers)
    assert batch.to_pydict() == columns
    assert kinds is None or found == kinds


def test_many_classes_stay_few_columns():
    batch, _ = outputs_table([[0.0] * 500])
    assert batch.num_columns == 21


def test_a_features_name_is_never_an_outputs():
    assert display_name("", ["a"]) == "@prediction"
    assert display_name(":yes", ["@prediction:yes", "b"]) == "@@prediction:yes"
