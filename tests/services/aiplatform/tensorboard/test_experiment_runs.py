"""Experiments' time series metrics, which lie in a TensorBoard; and Google's own uploader of event files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1
from tests.waiting import until

from portico.sandbox import environments

EVENTS = Path(__file__).parent / "events"


def test_time_series_metrics_of_a_run(portico: Any, aiplatform: Any) -> None:
    """Without a TensorBoard that anybody named: the client makes the default one."""
    settings = {"project": "metrics", "location": "us-central1"}
    aiplatform.init(experiment="measured", api_endpoint=portico.url, api_transport="rest", **settings)
    (board,) = aiplatform.Tensorboard.list(filter="is_default=true")
    with aiplatform.start_run("one") as run:
        for loss in (0.5, 0.25, 0.125):
            aiplatform.log_time_series_metrics({"loss": loss, "accuracy": 1 - loss})
        aiplatform.log_time_series_metrics({"loss": 0.0}, step=10)
        frame = run.get_time_series_data_frame()
    assert list(frame["step"]) == [1, 2, 3, 10]
    assert list(frame["loss"]) == [0.5, 0.25, 0.125, 0.0]
    assert list(frame["accuracy"][:3]) == [0.5, 0.75, 0.875]
    again = aiplatform.ExperimentRun("one", experiment="measured")
    again.log_time_series_metrics({"loss": 7.0})
    assert list(again.get_time_series_data_frame()["step"]) == [1, 2, 3, 10, 11]
    table = aiplatform.get_experiment_df("measured")
    assert list(table["time_series_metric.loss"]) == [7.0]
    below = {"tensorboard_id": board.name, "tensorboard_experiment_id": "measured"}
    assert aiplatform.TensorboardRun("one", **below)
    aiplatform.Experiment("measured").delete(delete_backing_tensorboard_runs=True)
    with pytest.raises(exceptions.NotFound):
        aiplatform.TensorboardRun("one", **below)


UPLOAD = """
import sys, threading
from google.cloud import aiplatform
aiplatform.init(project="test-project", location="us-central1", api_endpoint=sys.argv[1], api_transport="rest")
name, folder = sys.argv[2:]
aiplatform.upload_tb_log(tensorboard_id=name, tensorboard_experiment_name="once", logdir=folder)
aiplatform.start_upload_tb_log(tensorboard_id=name, tensorboard_experiment_name="meanwhile", logdir=folder)
print("uploading", flush=True)
sys.stdin.readline()
aiplatform.end_upload_tb_log()
"""
# With a key file google-auth asks another host of Google's about it, which nobody can reach here.
ALONE = """
from google.auth import credentials
for one in list(vars(credentials).values()):
    if "_maybe_start_regional_access_boundary_refresh" in getattr(one, "__dict__", {}):
        one._maybe_start_regional_access_boundary_refresh = lambda self, request, url: None
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_googles_uploader(portico: Any, aiplatform: Any, tmp_path: Path) -> None:
    """It needs TensorFlow and TensorBoard beside the client, and speaks REST as the client does."""
    client_version = v1.__version__
    needed = [
        "tensorflow-cpu",
        "tensorboard",
        "google-cloud-storage",
        f"google-cloud-aiplatform=={client_version}",
    ]
    python = environments.environment(needed, "3.11", portico.home / "envs")
    board = aiplatform.Tensorboard.create(display_name="uploaded")
    for run in ("tensorflow", "tensorboardx"):
        (tmp_path / "logs" / run).mkdir(parents=True)
        copy = tmp_path / "logs" / run / "events.out.tfevents.1"
        copy.write_bytes((EVENTS / f"{run}.tfevents").read_bytes())
    command = [str(python), "-c", ALONE + UPLOAD, portico.url, board.name, str(tmp_path / "logs")]
    uploading = subprocess.Popen(
        command, stdin=subprocess.PIPE, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )

    def runs(experiment: str) -> dict[str, Any]:
        name = f"{board.resource_name}/experiments/{experiment}"
        if experiment not in [one.name for one in aiplatform.TensorboardExperiment.list(board.resource_name)]:
            return {}
        found = aiplatform.TensorboardRun.list(name)
        return {one.display_name: one.read_time_series_data() for one in found}

    def whole(experiment: str) -> bool:
        found = runs(experiment)
        counts = {run: sum(len(data.values) for data in series.values()) for run, series in found.items()}
        return {run: counts.get(run) for run in ("tensorflow", "tensorboardx")} == {
            "tensorflow": 9,
            "tensorboardx": 7,
        }

    try:
        until(lambda: whole("meanwhile") or uploading.poll() is not None, "all is uploaded")
        assert whole("once") and whole("meanwhile")
        losses = runs("once")["tensorflow"]["loss"].values
        assert [(p.step, round(p.scalar.value, 3)) for p in losses] == [(0, 1.0), (1, 0.5), (2, 0.333)]
        (picture,) = runs("once")["tensorflow"]["picture"].values
        assert len(picture.blobs.values) == 3
    finally:
        assert uploading.stdin is not None
        uploading.stdin.write("\n")
        uploading.stdin.close()
        assert uploading.wait(120) == 0
