"""What monitoring finds without being given a threshold, by the official client."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import requests
from google.cloud.aiplatform import model_monitoring

from portico.errors import PorticoError
from portico.services.aiplatform.monitoring import model_deployment_monitoring_jobs
from portico.services.alerts.delivery import DELIVERIES
from portico.store import resources
from portico.store.database import Database
from portico.store.served import ServedModel

HOUR = 3600
TRAINING = 4000


@pytest.fixture
def advance(portico: Any) -> Callable[[], None]:
    def go() -> None:
        url = f"{portico.url}/apis/portico/v1/clock:advance"
        assert requests.post(url, json={"duration": f"{HOUR}s"}, timeout=240).status_code == 200

    return go


@pytest.fixture
def endpoint(upload: Any) -> Any:
    made = upload().deploy()
    yield made
    made.undeploy_all()
    made.delete()


@pytest.fixture
def explained(upload: Any) -> Any:
    """An endpoint whose model has an explanation spec, which the client asks for before it monitors attributions."""
    made = upload().deploy(
        explanation_parameters={"sampled_shapley_attribution": {"path_count": 10}},
        explanation_metadata={"inputs": {name: {} for name in "abc"}, "outputs": {"value": {}}},
    )
    yield made
    made.undeploy_all()
    made.delete()


def rows(seed: int, count: int) -> list[dict[str, Any]]:
    cells = np.random.default_rng(seed).normal(size=(count, 3))
    return [dict(zip("abc", row, strict=True)) for row in cells.tolist()]


def training(bucket: Any) -> str:
    lines = ["a,b,c,y", *(f"{r['a']},{r['b']},{r['c']},0" for r in rows(0, TRAINING))]
    bucket.blob("train.csv").upload_from_string("\n".join(lines))
    return f"gs://{bucket.name}/train.csv"


def monitor(aiplatform: Any, endpoint: Any, source: str, explain: bool = False, **skew: Any) -> Any:
    return aiplatform.ModelDeploymentMonitoringJob.create(
        endpoint=endpoint,
        display_name=f"found-{endpoint.name}",
        schedule_config=model_monitoring.ScheduleConfig(monitor_interval=1),
        logging_sampling_strategy=model_monitoring.RandomSampleConfig(sample_rate=1.0),
        alert_config=model_monitoring.EmailAlertConfig(user_emails=["a@example.com"]),
        objective_configs=model_monitoring.ObjectiveConfig(
            model_monitoring.SkewDetectionConfig(
                data_source=source, data_format="csv", target_field="y", **skew
            )
            if source
            else None,
            model_monitoring.DriftDetectionConfig(),
            model_monitoring.ExplanationConfig() if explain else None,
        ),
    )


def asked(endpoint: Any, instances: list[Any], size: int = 200) -> None:
    for start in range(0, len(instances), size):
        endpoint.predict(instances[start : start + size])


def search(job: Any, endpoint: Any, objective: str, **fields: Any) -> Any:
    """The one group of statistics of `objective`."""
    top = fields.pop("top_feature_count", 0)
    answer = job.api_client.search_model_deployment_monitoring_stats_anomalies(
        request={
            "model_deployment_monitoring_job": job.resource_name,
            "deployed_model_id": endpoint.list_models()[0].id,
            "objectives": [{"type_": objective, "top_feature_count": top}],
            **fields,
        }
    )
    found = list(answer)
    return found[0] if found else None


def above(stats: Any) -> dict[str, list[bool]]:
    """By feature, whether each window is above its threshold, the newest first."""
    return {
        feature.feature_display_name: [
            s.distribution_deviation > s.anomaly_detection_threshold for s in feature.prediction_stats
        ]
        for feature in stats.feature_stats
    }


def thresholds(stats: Any, name: str) -> list[float]:
    (feature,) = (f for f in stats.feature_stats if f.feature_display_name == name)
    return [s.anomaly_detection_threshold for s in feature.prediction_stats]


def told(portico: Any, job: Any) -> list[str]:
    return [line for line in portico.log().splitlines() if job.display_name in line and "anomalies" in line]


def test_thresholds_that_nobody_gave_are_calibrated(portico, aiplatform, bucket, endpoint, advance):
    job = monitor(aiplatform, endpoint, training(bucket))
    for seed, count in ((1, 600), (2, 600), (3, 200)):
        asked(endpoint, rows(seed, count))
        advance()
    moved = rows(4, 600)
    for row in moved:
        row["a"] += 0.5
    asked(endpoint, moved)
    advance()
    skew, drift = search(job, endpoint, "RAW_FEATURE_SKEW"), search(job, endpoint, "RAW_FEATURE_DRIFT")
    assert above(skew) == {"a": [True, False, False, False], "b": [False] * 4, "c": [False] * 4}
    assert above(drift)["b"] == above(drift)["c"] == [False] * 3
    assert skew.anomaly_count == 1
    large, small, _, first = thresholds(skew, "b")
    assert large == first < small < 0.3  # fewer rows lie farther off by chance
    assert thresholds(drift, "b")[2] > first  # and two windows than one and the training data
    # The outputs move with it: a is what the model asks most.
    outputs = search(job, endpoint, "RAW_FEATURE_SKEW", feature_display_name="@prediction")
    assert above(outputs) == {"@prediction": [True, False, False, False]}
    lines = told(portico, job)
    # The sketches tell what bins can't: the quartiles of the newest window.
    (quartiles,) = re.findall(r"skew of 'a' is .*least, quartiles and most now ([^;)]*)", "\n".join(lines))
    exact = np.quantile([row["a"] for row in moved], [0, 0.25, 0.5, 0.75, 1])
    assert [float(number) for number in quartiles.split(", ")] == pytest.approx(exact, abs=0.05)
    assert any("skew of '@prediction' is" in line for line in lines)
    assert any("in 1% of the windows, over all features" in line for line in lines)
    job.delete()


def test_missing_new_and_unknown_values_are_anomalies(portico, aiplatform, bucket, endpoint, advance):
    job = monitor(aiplatform, endpoint, training(bucket), skew_thresholds={"a": 1.0, "b": 1.0})
    asked(endpoint, rows(1, 600))
    advance()
    broken: list[dict[str, Any]] = rows(2, 600)
    for place, row in enumerate(broken):
        del row["b"]
        if place % 20 == 0:
            row["a"] = 50.0
        if place % 10 == 0:
            row["color"] = "red"
    asked(endpoint, broken)
    advance()
    skew = search(job, endpoint, "RAW_FEATURE_SKEW")
    assert above(skew) == {"a": [False, False], "b": [False, False]}  # their distances are at most 1
    assert skew.anomaly_count == 2
    lines = told(portico, job)
    assert any("skew of 'b': absent: no row has it" in line for line in lines)
    assert any("skew of 'a': 5.0% of the values are new" in line for line in lines)
    assert any("'color' is a feature that nobody knew: 60 rows have it" in line for line in lines)
    assert any("drift of 'b': absent" in line for line in lines)
    # The mail about it is a row of its own until a server takes it.
    database = Database(portico.home)
    with database.read() as connection:
        mails = [row.body for row in resources.listed(connection, DELIVERIES, job.resource_name)]
    database.close()
    assert [mail["sink"] for mail in mails] == ["a@example.com"] and "'color' is a feature" in mails[0][
        "text"
    ]
    job.delete()


def test_attributions_of_skew_and_drift(portico, aiplatform, bucket, explained, advance):
    endpoint = explained
    job = monitor(aiplatform, endpoint, training(bucket), explain=True)
    for seed in (1, 2):
        asked(endpoint, rows(seed, 400))
        advance()
    still = rows(3, 400)
    for row in still:
        row["a"] *= 0.05  # it hardly moves the answer any more
    asked(endpoint, still)
    advance()
    skew = search(job, endpoint, "FEATURE_ATTRIBUTION_SKEW")
    drift = search(job, endpoint, "FEATURE_ATTRIBUTION_DRIFT")
    assert above(skew)["a"] == [True, False, False] and above(drift)["a"] == [True, False]
    assert above(skew)["c"][1:] == [False] * 2  # of less, it now has a larger part
    by_name = {feature.feature_display_name: feature for feature in skew.feature_stats}
    for position in range(3):
        scores = [f.prediction_stats[position].score for f in by_name.values()]
        assert sum(scores) == pytest.approx(1)
    assert by_name["a"].training_stats.score == pytest.approx(2 / 3, abs=0.05)  # the model is 2 a - b
    newest = by_name["a"].prediction_stats[0]
    distance = abs(newest.score - by_name["a"].training_stats.score)
    assert newest.distribution_deviation == pytest.approx(distance)
    highest = search(job, endpoint, "FEATURE_ATTRIBUTION_SKEW", top_feature_count=1)
    assert [f.feature_display_name for f in highest.feature_stats] == ["b"]
    assert any("skew of the attributions of 'a'" in line for line in told(portico, job))
    job.delete()


def test_attribution_thresholds_are_the_users(aiplatform, bucket, explained, advance):
    endpoint = explained
    job = monitor(
        aiplatform, endpoint, training(bucket), explain=True, attribute_skew_thresholds={"a": 0.001, "c": 0.9}
    )
    # Which rows are explained is chance: where they are like the training data, their distance may be any small number.
    asked(endpoint, [{**row, "a": row["a"] * 5} for row in rows(1, 300)])
    advance()
    found = above(search(job, endpoint, "FEATURE_ATTRIBUTION_SKEW"))
    assert found == {"a": [True], "c": [False]}
    job.delete()


def test_drift_without_training_data_is_calibrated_on_the_first_window(aiplatform, endpoint, advance):
    job = monitor(aiplatform, endpoint, "")
    for seed in (1, 2, 3):
        asked(endpoint, [list(row.values()) for row in rows(seed, 800)])
        advance()
    moved = [[row["a"] + 1.0, row["b"], row["c"]] for row in rows(4, 800)]
    asked(endpoint, moved)
    advance()
    drift = search(job, endpoint, "RAW_FEATURE_DRIFT")
    assert above(drift) == {
        "feature_0": [True, False, False],
        "feature_1": [False] * 3,
        "feature_2": [False] * 3,
    }
    assert all(threshold < 0.3 for threshold in thresholds(drift, "feature_1"))
    outputs = search(job, endpoint, "RAW_FEATURE_DRIFT", feature_display_name="@prediction")
    assert above(outputs) == {"@prediction": [True, False, False]}
    job.delete()


def test_the_scores_of_classes_are_watched(aiplatform, upload, advance):
    generator = np.random.default_rng(0)
    cells = generator.normal(size=(900, 3))
    labels = (cells[:, 0] > 0.5).astype(int) + (cells[:, 0] > -0.5).astype(int)
    data = lightgbm.Dataset(cells, labels, feature_name=["a", "b", "c"])
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    endpoint = upload(lightgbm.train(options, data, 10)).deploy()
    job = monitor(aiplatform, endpoint, "")
    for seed, shift in ((1, 0.0), (2, 0.0), (3, 1.5)):
        asked(endpoint, [{**row, "a": row["a"] + shift} for row in rows(seed, 600)])
        advance()
    for name in ("@prediction", "@prediction:0", "@prediction:2"):
        outputs = search(job, endpoint, "RAW_FEATURE_DRIFT", feature_display_name=name)
        assert above(outputs) == {name: [True, False]}
    job.delete()
    endpoint.undeploy_all()


def test_thresholds_of_attributions_that_nobody_computes_are_kept_and_it_is_said(
    portico, aiplatform, bucket, endpoint, advance
):
    # Google's client sends them without an explanationConfig, and its service keeps them.
    job = monitor(aiplatform, endpoint, training(bucket), attribute_skew_thresholds={"a": 0.1})
    [config] = job._gca_resource.model_deployment_monitoring_objective_configs
    skew = config.objective_config.training_prediction_skew_detection_config
    assert {name: kept.value for name, kept in skew.attribution_score_skew_thresholds.items()} == {"a": 0.1}
    [said] = [one for one in portico.log().splitlines() if job.resource_name in one and "not watched" in one]
    assert "attributionScoreSkewThresholds" in said and "enableFeatureAttributes" in said
    asked(endpoint, rows(1, 300))
    advance()
    assert search(job, endpoint, "RAW_FEATURE_SKEW") and not search(job, endpoint, "FEATURE_ATTRIBUTION_SKEW")
    assert not told(portico, job)
    job.delete()


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("replica", "explanation spec"),
        ("onnx", "explanation spec"),
    ],
)
def test_models_whose_attributions_are_not_monitored(format, message):
    served = ServedModel("7", "projects/p/locations/l/models/7", "1", "any", format, "/nowhere")
    # Deploying one takes an environment of its own: the check alone.
    config = {"explanationConfig": {"enableFeatureAttributes": True}}
    with pytest.raises(PorticoError, match=message):
        model_deployment_monitoring_jobs.check_attributions(config, served, "objectiveConfig")
