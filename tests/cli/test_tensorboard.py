"""`portico tensorboard`, and real TensorBoard that it starts."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from typing import Any

import pytest
from google.cloud import aiplatform_v1 as v1
from tests.cli.test_command import PORTICO, one_line, run
from tests.waiting import until


@pytest.fixture
def board(aiplatform: Any) -> Any:
    made = aiplatform.Tensorboard.create(display_name="shown")
    yield made
    made.delete()


def test_where_it_can_not_be_had_the_words_say_what_to_install(portico, board, tmp_path):
    (tmp_path / "nice").symlink_to(shutil.which("nice") or "/usr/bin/nice")
    environment = {"PATH": str(tmp_path), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    done = run(
        "tensorboard",
        board.resource_name,
        "--home",
        str(portico.home),
        env=environment | {"HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    # Behind what tells that it waits, in one line.
    told = done.stderr.splitlines()[-1]
    assert told.startswith("portico: ") and "Traceback" not in done.stderr
    assert "can't be installed here" in told and "pip install tensorboard" in told


def test_what_is_no_tensorboard_is_said(portico, board):
    done = run("tensorboard", "shown", "--home", str(portico.home))
    assert done.returncode == 1 and "is no TensorBoard" in one_line(done)
    done = run("tensorboard", f"{board.resource_name}/experiments/none", "--home", str(portico.home))
    assert done.returncode == 1 and "does not exist" in one_line(done)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_tensorboard_shows_the_runs(portico, aiplatform, board):
    from google.cloud import storage

    experiment = aiplatform.TensorboardExperiment.create("exp", board.resource_name)
    one = aiplatform.TensorboardRun.create("one", experiment.resource_name)
    one.create_tensorboard_time_series("loss")
    for step in range(5):
        one.write_tensorboard_scalar_data({"loss": step / 4}, step=step)
    images = one.create_tensorboard_time_series("picture", "BLOB_SEQUENCE", "images")
    bucket = storage.Client(project="test-project").bucket(board.gca_resource.blob_storage_path_prefix)
    for blob_id, data in (("w", b"3"), ("h", b"2"), ("png", b"\x89PNG...")):
        bucket.blob(f"tensorboard-{board.name}/exp/one/{images.name}/{blob_id}").upload_from_string(data)
    client = v1.TensorboardServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")
    point = {"step": 1, "blobs": {"values": [{"id": "w"}, {"id": "h"}, {"id": "png"}]}}
    client.write_tensorboard_run_data(
        tensorboard_run=one.resource_name,
        time_series_data=[
            {"tensorboard_time_series_id": images.name, "value_type": "BLOB_SEQUENCE", "values": [point]}
        ],
    )
    command = [*PORTICO, "tensorboard", board.resource_name, "--home", str(portico.home)]
    shown = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    try:
        assert shown.stdout is not None
        line = shown.stdout.readline()
        assert line.startswith("TensorBoard at http://127.0.0.1:")
        address = line.split()[2]

        def asked(path: str) -> Any:
            with urllib.request.urlopen(f"{address}data/{path}", timeout=240) as answer:
                return json.load(answer)

        def losses() -> list[tuple[int, float]]:
            if "exp/one" not in asked("plugin/scalars/tags"):
                return []
            return [
                (step, value) for _, step, value in asked("plugin/scalars/scalars?run=exp%2Fone&tag=loss")
            ]

        assert until(losses, "the run is shown") == [(step, step / 4) for step in range(5)]
        (picture,) = asked("plugin/images/images?run=exp%2Fone&tag=picture&sample=0")
        image = f"{address}data/plugin/images/individualImage?{picture['query']}"
        with urllib.request.urlopen(image, timeout=240) as answer:
            assert (picture["step"], answer.read()) == (1, b"\x89PNG...")
        one.write_tensorboard_scalar_data({"loss": 9.0}, step=5)
        until(lambda: losses()[-1:] == [(5, 9.0)], "what came later is shown")
    finally:
        shown.send_signal(signal.SIGTERM)
        assert shown.wait(60) == 0
    with pytest.raises(OSError):
        asked("runs")
