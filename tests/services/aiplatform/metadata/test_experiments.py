"""Experiments and their runs by the official client."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.api_core import exceptions


@pytest.fixture
def experiment(aiplatform: Any) -> Any:
    """A new experiment without a TensorBoard, which runs belong to from now on."""
    name = f"exp-{uuid.uuid4().hex[:12]}"
    aiplatform.init(experiment=name, experiment_tensorboard=False)
    yield aiplatform.Experiment(name)
    aiplatform.metadata.metadata._experiment_tracker.reset()


def test_runs_hold_parameters_metrics_and_a_state(aiplatform, experiment):
    with aiplatform.start_run("one") as run:
        aiplatform.log_params({"rate": 0.1, "kind": "tree"})
        aiplatform.log_metrics({"accuracy": 0.75})
        aiplatform.log_metrics({"accuracy": 0.8, "loss": 2})
        assert run.state.name == "RUNNING"
    aiplatform.start_run("two")
    aiplatform.log_params({"rate": 0.2})
    aiplatform.end_run()
    with pytest.raises(ValueError), aiplatform.start_run("broken"):
        raise ValueError

    frame = aiplatform.get_experiment_df().set_index("run_name")
    assert dict(frame["state"]) == {"one": "COMPLETE", "two": "COMPLETE", "broken": "FAILED"}
    assert dict(frame.loc["one", ["param.rate", "param.kind", "metric.accuracy", "metric.loss"]]) == {
        "param.rate": 0.1,
        "param.kind": "tree",
        "metric.accuracy": 0.8,
        "metric.loss": 2.0,
    }
    assert set(frame["run_type"]) == {"system.ExperimentRun"} and set(frame["experiment_name"]) == {
        experiment.name
    }

    with aiplatform.start_run("one", resume=True):
        aiplatform.log_metrics({"accuracy": 0.9})
    again = aiplatform.ExperimentRun("one", experiment=experiment.name)
    assert again.get_metrics() == {"accuracy": 0.9, "loss": 2.0} and again.get_state() == "COMPLETE"
    again.update_state(aiplatform.gapic.Execution.State.CANCELLED)
    assert aiplatform.ExperimentRun.get("one", experiment=experiment).get_state() == "CANCELLED"
    assert aiplatform.ExperimentRun.get("none", experiment=experiment) is None


def test_runs_and_experiments_are_listed_and_deleted(aiplatform, experiment):
    for name in ("a", "b"):
        aiplatform.ExperimentRun.create(name, experiment=experiment)
    with pytest.raises(exceptions.Conflict):
        aiplatform.ExperimentRun.create("a", experiment=experiment)
    assert {run.name for run in aiplatform.ExperimentRun.list(experiment=experiment)} == {"a", "b"}
    assert experiment.name in {e.name for e in aiplatform.Experiment.list()}
    aiplatform.ExperimentRun("a", experiment=experiment).delete()
    assert [run.name for run in aiplatform.ExperimentRun.list(experiment=experiment)] == ["b"]
    experiment.delete()
    assert aiplatform.Experiment.get(experiment.name) is None
    with pytest.raises(exceptions.NotFound):
        aiplatform.Context(f"{experiment.name}-b")


def test_executions_and_classification_metrics_belong_to_their_run(aiplatform, experiment):
    data = aiplatform.Artifact.create(schema_title="system.Dataset", uri="gs://b/d.csv", display_name="data")
    model = aiplatform.Artifact.create(schema_title="system.Model", display_name="model")
    with aiplatform.start_run("one") as run:
        with aiplatform.start_execution(
            schema_title="system.ContainerExecution", display_name="train"
        ) as done:
            done.assign_input_artifacts([data])
            done.assign_output_artifacts([model])
        made = run.log_classification_metrics(
            display_name="m", labels=["cat", "dog"], matrix=[[9, 1], [1, 9]],
            fpr=[0.1, 0.5, 0.9], tpr=[0.1, 0.7, 0.9], threshold=[0.9, 0.5, 0.1],
        )  # fmt: skip
    assert run.get_classification_metrics() == [
        {"id": made.name, "display_name": "m", "labels": ["cat", "dog"], "matrix": [[9.0, 1.0], [1.0, 9.0]],
         "fpr": [0.1, 0.5, 0.9], "tpr": [0.1, 0.7, 0.9], "threshold": [0.9, 0.5, 0.1]}
    ]  # fmt: skip
    assert [e.display_name for e in run.get_executions()] == ["train"]
    assert done.state.name == "COMPLETE"
    assert {a.display_name for a in run.get_artifacts()} == {"data", "model", "m"}
    assert [a.display_name for a in done.get_input_artifacts()] == ["data"]
    assert [a.display_name for a in done.get_output_artifacts()] == ["model"]
    assert aiplatform.Execution.get(done.resource_name).schema_title == "system.ContainerExecution"
    with pytest.raises(KeyError), aiplatform.start_execution(schema_title="system.Run") as failed:
        raise KeyError
    assert aiplatform.Execution.get(failed.resource_name).state.name == "FAILED"


def test_a_model_is_logged_loaded_and_registered(aiplatform, experiment, bucket):
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    with aiplatform.start_run("one") as run:
        aiplatform.log_model(fitted, uri=f"gs://{bucket.name}/logged", input_example=[[1.0]])
    (found,) = run.get_experiment_models()
    assert found.get_model_info()["model_class"] == "sklearn.linear_model._base.LinearRegression"
    assert found.load_model().predict([[3.0]]) == pytest.approx([7.0])
    assert aiplatform.get_experiment_model(found.name).uri == f"gs://{bucket.name}/logged"


def test_time_series_go_to_the_experiments_tensorboard(aiplatform):
    name = f"exp-{uuid.uuid4().hex[:12]}"
    aiplatform.init(experiment=name)  # with the default TensorBoard, made when there is none
    try:
        with aiplatform.start_run("one") as run:
            for step in range(1, 4):
                aiplatform.log_time_series_metrics({"loss": 1 / step}, step=step)
            aiplatform.log_time_series_metrics({"loss": 0.1})  # the step after
        frame = run.get_time_series_data_frame()
        assert list(frame["step"]) == [1, 2, 3, 4] and list(frame["loss"]) == pytest.approx(
            [1, 1 / 2, 1 / 3, 0.1]
        )
        table = aiplatform.get_experiment_df()
        assert list(table["time_series_metric.loss"]) == pytest.approx([0.1])
        run.delete(delete_backing_tensorboard_run=True)
    finally:
        aiplatform.metadata.metadata._experiment_tracker.reset()
