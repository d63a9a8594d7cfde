"""What `test_own_components.py` runs in an environment that has kfp: each component's function on small, wrong data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Markdown, Metrics, Model

from portico.client import components


class Files:
    """Artifacts whose files lie in a folder, as a task has them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, 0

    def __call__(self, kind: Any = Artifact, frame: pd.DataFrame | None = None) -> Any:
        self._made += 1
        path = self._folder / f"{kind.__name__}{self._made}"
        if frame is not None:
            frame.to_csv(path, index=False)
        return kind(uri=str(path))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def people(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    age, town = draw.integers(18, 80, rows), draw.choice(["a", "b"], rows)
    bought = draw.random(rows) < np.where(age > 50, 0.85, 0.15)
    return pd.DataFrame(
        {"day": np.arange(rows), "age": age, "town": town, "bought": np.where(bought, "yes", "no")}
    )


def validated(files: Files, frame: pd.DataFrame, **given: Any) -> tuple[bool, list[str], Any]:
    statistics, report = files(), files(Markdown)
    found = components.validate_data.python_func(
        data=files(Dataset, frame), statistics=statistics, report=report, must_be_valid=False, **given
    )
    assert all(one in Path(report.path).read_text() for one in found.anomalies or ["Nothing is wrong."])
    return found.valid, found.anomalies, statistics


SCHEMA = {
    "rows": {"least": 100},
    "columns": {
        "age": {"type": "number", "least": 18, "most": 80, "missing": 0.1},
        "town": {"type": "text", "values": ["a", "b"]},
    },
}


def test_data_as_the_schema_says_is_valid(files: Files) -> None:
    valid, anomalies, statistics = validated(files, people(), schema=SCHEMA)
    assert valid and anomalies == []
    told = json.loads(Path(statistics.path).read_text())
    assert told["rows"] == 300 and told["columns"]["age"]["least"] >= 18
    assert sum(told["columns"]["age"]["shares"]) == pytest.approx(1)
    assert validated(files, people(seed=1), schema=SCHEMA, reference=statistics)[:2] == (True, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="age"), "there is no column age"),
        (lambda frame: frame.head(99), "the table has 99 rows, at least 100 are needed"),
        (lambda frame: frame.head(0), "the table has 0 rows"),
        (lambda frame: frame.assign(age="old"), "age holds texts, not numbers"),
        (lambda frame: frame.assign(age=frame["age"] - 10), "age goes down to 8, not below 18 is allowed"),
        (lambda frame: frame.assign(age=frame["age"] + 10), "age goes up to 89, not above 80 is allowed"),
        (lambda frame: frame.assign(town="c"), "town has values that the schema does not: c"),
        (lambda frame: frame.assign(age=frame["age"].where(frame["day"] % 4 > 0)), "age is missing in 25.0%"),
        (lambda frame: frame.assign(age=np.nan), "age is missing in 100.0%, at most 10.0% are allowed"),
    ],
)
def test_data_that_is_wrong_is_named(files: Files, change: Any, words: str) -> None:
    valid, anomalies, _ = validated(files, change(people()), schema=SCHEMA)
    assert not valid and any(words in one for one in anomalies), anomalies
    with pytest.raises(ValueError, match="The data is not valid: "):
        components.validate_data.python_func(
            data=files(Dataset, change(people())), statistics=files(), report=files(Markdown), schema=SCHEMA
        )


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({}, {"age": lambda frame: frame["age"] + 30}, "age has drifted by"),
        ({}, {"town": "a"}, "town has drifted by 0."),
        ({"flag": lambda frame: frame["day"] % 2}, {"flag": 1}, "flag has drifted by"),
        ({"flag": 0}, {"flag": 100}, "flag has drifted by 1.000"),
        ({"flag": 0}, {}, "there is no column flag any more"),
        ({"flag": 0}, {"flag": "no"}, "flag held numbers, and holds texts now"),
    ],
)
def test_drift_is_told(files: Files, before: dict[str, Any], now: dict[str, Any], words: str) -> None:
    reference = validated(files, people().assign(**before))[2]
    valid, anomalies, _ = validated(files, people(seed=1).assign(**now), reference=reference)
    assert not valid and len(anomalies) == 1 and words in anomalies[0], anomalies


def split(files: Files, frame: pd.DataFrame, **given: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, test = files(Dataset), files(Dataset)
    components.split_data.python_func(data=files(Dataset, frame), train=train, test=test, **given)
    parts = pd.read_csv(train.path), pd.read_csv(test.path)
    assert [len(part) for part in parts] == [train.metadata["rows"], test.metadata["rows"]]
    return parts


def test_a_split_is_by_time_by_key_or_by_row_and_always_the_same(files: Files) -> None:
    train, test = split(files, people(), order="day")
    assert len(test) == 60 and train["day"].max() < test["day"].min()
    train, test = split(files, people(), key="age", test_fraction=0.4)
    assert not set(train["age"]) & set(test["age"])
    first, again = split(files, people())[1], split(files, people().sample(frac=1, random_state=3))[1]
    assert set(first["day"]) == set(again["day"]) and 30 < len(first) < 90


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"test_fraction": 0.0}, "With a test fraction of 0 a part of the 300 rows is empty"),
        ({"key": "town", "test_fraction": 0.0001}, "a part of the 300 rows is empty"),
        ({"order": "when"}, "The data has no column when; it has day, age, town, bought"),
        ({"key": "who"}, "The data has no column who"),
    ],
)
def test_a_split_that_is_none_is_refused(files: Files, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        split(files, people(), **given)


def trained(files: Files, frame: pd.DataFrame, target: str = "bought", **given: Any) -> tuple[Any, float]:
    model = files(Model)
    given = {"features": ["age", "town"], "parameters": {"max_iter": 20}} | given
    loss = components.train_model.python_func(data=files(Dataset, frame), model=model, target=target, **given)
    return model, loss


def evaluated(files: Files, frame: pd.DataFrame, model: Any, **given: Any) -> dict[str, Any]:
    evaluation, metrics, curves = files(), files(Metrics), files(ClassificationMetrics)
    given = {"latency_rows": 3} | given
    components.evaluate_model.python_func(
        data=files(Dataset, frame), model=model, evaluation=evaluation, metrics=metrics, classification=curves,
        report=files(Markdown), **given,
    )  # fmt: skip
    text = Path(evaluation.path).read_text()
    assert "NaN" not in text + json.dumps(metrics.metadata) + json.dumps(curves.metadata)
    found: dict[str, Any] = json.loads(text)
    assert metrics.metadata == {name: one["value"] for name, one in found["metrics"].items()}
    return found


def test_a_model_is_measured_with_intervals_slices_fairness_and_latency(files: Files) -> None:
    model, loss = trained(files, people(), validation_fraction=0.2)
    assert 0 < loss < 0.7 and model.metadata["features"] == ["age", "town"]
    found = evaluated(files, people(200, 5), model, positive="yes", slices=["town"])
    one = found["metrics"]["auRoc"]
    assert 0.7 < one["low"] < one["value"] < one["high"] <= 1 and found["baseline"]["auRoc"] == 0.5
    assert set(found["slices"]["town"]) == {"a", "b"} and found["rows"] == 200
    assert sum(part["rows"] for part in found["slices"]["town"].values()) == 200
    assert set(found["fairness"]["town"]) == {"demographicParityDifference", "equalOpportunityDifference"}
    assert 0 < found["latencyMilliseconds"]["median"] <= found["latencyMilliseconds"]["p95"]
    other = evaluated(files, people(200, 5), model, positive="no", slices=["town"])
    assert other["metrics"]["auRoc"]["value"] == pytest.approx(one["value"])


def test_whole_numbers_are_classes_whether_or_not_one_is_missing(files: Files) -> None:
    frame = people().assign(bought=lambda frame: (frame["bought"] == "yes").astype(float))
    model, _ = trained(files, frame.assign(bought=frame["bought"].where(frame["day"] > 0)))
    found = evaluated(files, frame.astype({"bought": int}), model, positive="1")
    assert found["metrics"]["auRoc"]["value"] > 0.7


def test_fractions_are_a_regression(files: Files) -> None:
    frame = people().assign(spent=lambda frame: frame["age"] / 7)
    found = evaluated(files, frame, trained(files, frame, "spent")[0])
    assert found["metrics"]["rSquared"]["low"] > 0.9 and "auRoc" not in found["metrics"]
    one = evaluated(files, frame.head(1), trained(files, frame, "spent")[0])
    assert set(one["metrics"]) == {"rootMeanSquaredError", "meanAbsoluteError"}


def test_one_class_alone_has_no_curve_and_is_measured(files: Files) -> None:
    model, _ = trained(files, people())
    frame = people(200, 5)
    found = evaluated(files, frame[frame["bought"] == "yes"], model, positive="yes")
    assert "auRoc" not in found["metrics"] and found["metrics"]["accuracy"]["value"] > 0.5


def test_three_classes_are_measured(files: Files) -> None:
    frame = people().assign(
        bought=lambda frame: np.select([frame["age"] < 35, frame["age"] < 60], ["x", "y"], "z")
    )
    found = evaluated(files, frame, trained(files, frame)[0], slices=["town"])
    assert found["metrics"]["accuracy"]["value"] > 0.9 and found["fairness"] == {}


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        (lambda frame: frame, {"positive": "maybe"}, "'maybe' is none of the model's: no, yes"),
        (lambda frame: frame.drop(columns="town"), {}, "The data has no column town; it has day"),
        (lambda frame: frame.drop(columns="bought"), {}, "The data has no column bought"),
        (lambda frame: frame, {"slices": ["sex"]}, "The data has no column sex"),
        (lambda frame: frame.head(0), {}, "The data has no row with a bought"),
        (lambda frame: frame.assign(bought="perhaps"), {}, "The model does not know perhaps; its classes: no, yes"),
    ],
)  # fmt: skip
def test_what_can_not_be_measured_is_said(
    files: Files, change: Any, given: dict[str, Any], words: str
) -> None:
    model, _ = trained(files, people())
    with pytest.raises(ValueError, match=words):
        evaluated(files, change(people(100, 5)), model, **given)


def test_a_model_of_elsewhere_needs_metadata(files: Files) -> None:
    model, _ = trained(files, people())
    with pytest.raises(ValueError, match="The model's metadata lacks target and features"):
        evaluated(files, people(100, 5), Model(uri=model.uri))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": "sold"}, "The data has no column sold, the target"),
        ({"features": ["age", "sex"]}, "The data has no column sex; it has day"),
    ],
)
def test_what_can_not_be_learned_is_said(files: Files, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trained(files, people(), **given)


def test_the_lowest_loss_is_the_best() -> None:
    best = components.best_parameters.python_func
    assert best(parameters=[{"a": 1}, {"a": 2}, {"a": 3}], losses=[0.3, 0.1, 0.2]) == {"a": 2}
    with pytest.raises(ValueError, match="There are 1 sets of parameters and 0 losses"):
        best(parameters=[{}], losses=[])


def gated(files: Files, found: dict[str, Any], champion: dict[str, Any] | None = None, **given: Any) -> Any:
    def written(told: dict[str, Any]) -> Any:
        made = files()
        Path(made.path).write_text(json.dumps(told))
        return made

    return components.gate_model.python_func(
        evaluation=written(found), report=files(Markdown), champion=written(champion) if champion else None, **given
    )  # fmt: skip


EVALUATION: dict[str, Any] = {
    "metrics": {
        "auRoc": {"value": 0.8, "low": 0.75, "high": 0.85}, "logLoss": {"value": 0.4, "low": 0.35, "high": 0.45},
    },
    "baseline": {"auRoc": 0.5, "logLoss": 0.42},
    "slices": {"town": {"a": {"rows": 60, "metrics": {"auRoc": 0.7, "logLoss": 0.5}}}},
    "fairness": {"town": {"demographicParityDifference": 0.2}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reasons"),
    [
        ({}, []),
        ({"least": {"auRoc": 0.75}, "most": {"logLoss": 0.45}, "most_unfair": 0.2, "weakest_slice": 0.7}, []),
        ({"least": {"auRoc": 0.76}}, ["auRoc may be as low as 0.7500, below 0.76"]),
        ({"most": {"logLoss": 0.44}}, ["logLoss may be as high as 0.4500, above 0.44"]),
        ({"metric": "logLoss"}, ["logLoss is not better than the simple answer's 0.4200 for sure"]),
        ({"most_unfair": 0.19}, ["demographicParityDifference between values of town is 0.200, above 0.19"]),
        ({"weakest_slice": 0.71}, ["auRoc where town is a is 0.7000, below 0.71"]),
        (
            {"metric": "logLoss", "must_beat_baseline": False, "weakest_slice": 0.49},
            ["logLoss where town is a is 0.5000, above 0.49"],
        ),
    ],
)
def test_a_gate_says_why_it_stops(files: Files, given: dict[str, Any], reasons: list[str]) -> None:
    found = gated(files, EVALUATION, **given)
    assert found.reasons == reasons and found.passed == (not reasons)


def test_a_gate_compares_with_the_champion(files: Files) -> None:
    better = {"metrics": {"auRoc": {"value": 0.9}}}
    assert gated(files, EVALUATION, better).reasons == ["auRoc is 0.8000; the deployed model's is 0.9000"]
    assert gated(files, EVALUATION, EVALUATION).passed
    with pytest.raises(ValueError, match="The evaluation has no rSquared; it has auRoc, logLoss"):
        gated(files, EVALUATION, metric="rSquared")
    with pytest.raises(ValueError, match="The deployed model's evaluation has no logLoss; it has auRoc"):
        gated(files, EVALUATION, better, metric="logLoss")


@pytest.mark.parametrize("steps", [[], [10, 50], [50, 10, 100], [0, 100]])
def test_a_canary_whose_steps_do_not_rise_to_all_deploys_nothing(steps: list[int]) -> None:
    with pytest.raises(ValueError, match="steps must be percentages that rise to 100"):
        components.deploy_by_canary.python_func(
            model_name="m", project="p", location="l", endpoint_display_name="e", steps=steps
        )
