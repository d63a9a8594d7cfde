"""AutoML tabular, from a CSV in Cloud Storage to an explained prediction, by the official client."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest


def make_rows(rows: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        color, size = rng.choice(["red", "green", "blue"]), float(rng.normal())
        price = {"red": 3.0, "green": -2.0, "blue": 0.5}[color] + 2 * size + rng.normal() * 0.3
        found.append({"color": color, "size": round(size, 4), "price": round(price, 4), "cheap": price < 0})
    return found


def as_csv(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def module_bucket(portico):
    import time

    from google.cloud import storage

    return storage.Client(project="test-project").create_bucket(f"automl-{time.time_ns()}")


@pytest.fixture
def dataset(aiplatform, module_bucket):
    module_bucket.blob("data.csv").upload_from_string(as_csv(make_rows(1200)), content_type="text/csv")
    return aiplatform.TabularDataset.create(
        display_name="prices", gcs_source=f"gs://{module_bucket.name}/data.csv"
    )


def test_a_dataset_knows_its_schema_and_statistics(dataset):
    assert set(dataset.column_names) == {"color", "size", "price", "cheap"}
    statistics = dataset.to_dict()["metadata"]["statistics"]
    assert statistics["rows"] == 1200
    kinds = {column["name"]: column["kind"] for column in statistics["columns"]}
    assert kinds == {"color": "categorical", "size": "numeric", "price": "numeric", "cheap": "categorical"}


def test_regression_is_trained_evaluated_deployed_and_explained(aiplatform, dataset):
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="prices",
        optimization_prediction_type="regression",
        optimization_objective="minimize-rmse",
        column_transformations=[{"auto": {"column_name": "color"}}, {"numeric": {"column_name": "size"}}],
    )
    model = job.run(
        dataset=dataset, target_column="price", budget_milli_node_hours=2, model_display_name="prices"
    )
    [evaluation] = model.list_model_evaluations()
    assert evaluation.metrics["rootMeanSquaredError"] < 0.6
    verdict = evaluation.to_dict()["metadata"]["baseline"]
    assert verdict["modelIsBetter"] is True
    assert "mean of the training rows" in verdict["sentence"]
    endpoint = model.deploy(machine_type="n1-standard-4")
    [red] = endpoint.predict([{"color": "red", "size": "1.0"}]).predictions
    assert red["lower_bound"] < red["value"] < red["upper_bound"]
    assert abs(red["value"] - 5.0) < 1.0
    explained = endpoint.explain([{"color": "red", "size": 1}])
    attribution = explained.explanations[0].attributions[0]
    total = attribution.baseline_output_value + sum(attribution.feature_attributions.values())
    assert total == pytest.approx(attribution.instance_output_value, abs=1e-6)
    assert attribution.instance_output_value == pytest.approx(red["value"], abs=1e-9)
    assert set(attribution.feature_attributions) == {"color", "size"}
    endpoint.undeploy_all()


def test_classification_has_scores_for_every_class(aiplatform, dataset):
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="cheap",
        optimization_prediction_type="classification",
        column_specs={"color": "auto", "size": "auto"},
    )
    model = job.run(dataset=dataset, target_column="cheap", budget_milli_node_hours=4)
    [evaluation] = model.list_model_evaluations()
    assert evaluation.metrics["auRoc"] > 0.95
    assert {"confusionMatrix", "logLoss", "auPrc", "confidenceMetrics"} <= set(evaluation.metrics)
    endpoint = model.deploy()
    [answer] = endpoint.predict([{"color": "green", "size": -1}]).predictions
    assert sorted(answer["classes"]) == ["False", "True"]
    assert sum(answer["scores"]) == pytest.approx(1.0)
    assert dict(zip(answer["classes"], answer["scores"], strict=True))["True"] > 0.9
    endpoint.undeploy_all()


def test_a_training_that_cannot_be_is_refused_at_once(aiplatform, dataset):
    from google.api_core import exceptions

    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="wrong", optimization_prediction_type="regression", column_specs={"color": "auto"}
    )
    with pytest.raises(exceptions.BadRequest, match="no column 'prize'"):
        job.run(dataset=dataset, target_column="prize", budget_milli_node_hours=2)


@pytest.mark.slow
def test_a_class_that_only_the_test_rows_have_and_a_value_that_is_none(aiplatform, module_bucket):
    parts = ["training"] * 8 + ["validation", "test"]
    rows = [{"size": n % 7, "part": parts[n % 10], "kind": "no"} for n in range(200)]
    rows[9]["kind"] = "yes"

    def train(name, rows):
        module_bucket.blob(f"{name}.csv").upload_from_string(as_csv(rows), content_type="text/csv")
        dataset = aiplatform.TabularDataset.create(
            display_name=name, gcs_source=f"gs://{module_bucket.name}/{name}.csv"
        )
        job = aiplatform.AutoMLTabularTrainingJob(
            display_name=name,
            optimization_prediction_type="classification",
            column_specs={"size": "auto"},
        )
        split = {"predefined_split_column_name": "part"}
        return job.run(dataset=dataset, target_column="kind", budget_milli_node_hours=1, **split)

    model = train("rare", rows)
    body = model.to_dict()["metadata"]
    assert body["classes"] == ["no", "yes"] and isinstance(body["cutShort"], bool)
    [evaluation] = model.list_model_evaluations()
    assert "auRoc" in evaluation.metrics and "baseline" in evaluation.to_dict()["metadata"]
    rows[9]["kind"], rows[8]["kind"] = "no", "yes"
    [evaluation] = train("unseen", rows).list_model_evaluations()
    assert "auRoc" not in evaluation.metrics
    assert "All test rows are of the class 'no'" in evaluation.to_dict()["metadata"]["notComputed"]["auRoc"]
    rows[17]["size"] = "inf"
    with pytest.raises(RuntimeError, match=r"infinite.csv.*(17|18|19).*size.*holds .{0,4}inf"):
        train("infinite", rows)
