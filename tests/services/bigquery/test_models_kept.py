"""Models through kills, cancellations and backups: kept whole, or not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests import processes
from tests.services.bigquery.test_bigquery import answered, connected
from tests.waiting import until

SMALL = """CREATE OR REPLACE MODEL kept.m TRANSFORM(ML.STANDARD_SCALER(x) OVER () AS x, y)
    OPTIONS(model_type='linear_reg', input_label_cols=['y'])
    AS SELECT x, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 50)) x"""
LONG = """CREATE OR REPLACE MODEL kept.m OPTIONS(model_type='boosted_tree_regressor', input_label_cols=['y'],
    max_iterations=1000000, early_stop=FALSE)
    AS SELECT RAND() AS a, RAND() AS y FROM UNNEST(GENERATE_ARRAY(1, 20000))"""
ASKED = "SELECT predicted_y FROM ML.PREDICT(MODEL kept.m, (SELECT 10 AS x))"


@pytest.fixture(scope="module")
def own(new_portico: Any) -> Any:
    """A server of these tests' own, which has the model `kept.m`."""
    started = new_portico().start()
    client = connected(started)
    client.create_dataset("kept")
    client.query(SMALL).result()
    yield started
    started.stop()


def holds(server: Any) -> None:
    """It has the model that was there before, and nothing else of it."""
    assert answered(connected(server), ASKED) == [(pytest.approx(20.0),)]
    until(lambda: len(list((server.home / "bigquery" / "models").iterdir())) == 1, "nothing else is left")


def begun(server: Any, client: bigquery.Client) -> Any:
    """A training that would take very long, under way; and its processes."""
    folders = server.home / "bigquery" / "models"
    before = set(folders.iterdir())
    job = client.query(LONG)
    until(
        lambda: [one for one in set(folders.iterdir()) - before if (one / "given.json").exists()],
        "a training",
    )
    return job


def trainers(server: Any) -> list[psutil.Process]:
    """The children of the process that forks trainings."""
    forking = processes.running(server.pids(), "portico.warehouse.models.trainer")
    return [child for one in forking for child in processes.children(one)]


def test_a_training_that_was_killed_leaves_the_model_before(own: Any) -> None:
    client = connected(own)
    job = begun(own, client)
    own.kill()
    own.start()
    told = connected(own).get_job(job.job_id)
    assert told.state == "DONE" and told.error_result["reason"] == "stopped"
    holds(own)


def test_a_training_is_cancelled_and_its_process_ends(own: Any) -> None:
    client = connected(own)
    job = begun(own, client)
    until(lambda: trainers(own), "its process")
    client.cancel_job(job.job_id)
    with pytest.raises(exceptions.GoogleAPICallError, match="cancelled"):
        job.result()
    until(lambda: not trainers(own), "its end")
    holds(own)


def test_what_trains_is_started_again(own: Any) -> None:
    client = connected(own)
    job = begun(own, client)
    [child] = until(lambda: trainers(own), "its process")
    parent = child.parent()
    assert parent is not None
    parent.kill()
    with pytest.raises(exceptions.GoogleAPICallError, match="process died"):
        job.result(job_retry=None)
    until(lambda: not processes.alive(child.pid), "the end of the training")
    client.query(SMALL).result()
    holds(own)


def test_a_backup_has_the_models(own: Any, tmp_path: Path) -> None:
    client = connected(own)
    command = [sys.executable, "-m", "portico.cli.main"]
    backup = [*command, "backup", str(tmp_path / "b"), "--home", str(own.home)]
    subprocess.run(backup, check=True, capture_output=True)
    client.query("DROP MODEL kept.m").result()
    own.stop()
    restore = [*command, "restore", str(tmp_path / "b"), "--home", str(tmp_path / "h")]
    subprocess.run(restore, check=True, capture_output=True)
    own.home = tmp_path / "h"
    own.start()
    holds(own)


def test_a_copy_job_copies_a_model(portico: Any) -> None:
    client = connected(portico)
    client.create_dataset("kept")
    text = """CREATE OR REPLACE MODEL kept.copied TRANSFORM(ML.STANDARD_SCALER(x) OVER () AS x, y)
    OPTIONS(model_type='linear_reg', input_label_cols=['y'], description='first')
    AS SELECT x, {} * x AS y FROM UNNEST(GENERATE_ARRAY(1, 50)) AS x"""
    client.query(text.format(2)).result()
    place = f"{client.project}.kept"

    def copied(config: bigquery.CopyJobConfig | None = None) -> bigquery.CopyJob:
        return client.copy_table(f"{place}.copied", f"{place}.copy", job_config=config)

    def told(name: str) -> float:
        [row] = client.query(
            f"SELECT predicted_y FROM ML.PREDICT(MODEL kept.{name}, (SELECT 10 AS x))"
        ).result()
        return float(row.predicted_y)

    copied().result()
    model = client.get_model("kept.copy")
    assert model.description == "first" and model.model_id == "copy" and told("copy") == told("copied")
    with pytest.raises(exceptions.Conflict, match="Already Exists: Model"):
        copied().result()
    client.query(text.format(3)).result()
    assert told("copied") == pytest.approx(30, abs=0.5) and told("copy") == pytest.approx(20, abs=0.5)
    copied(bigquery.CopyJobConfig(write_disposition="WRITE_TRUNCATE")).result()
    client.delete_model("kept.copied")
    assert told("copy") == pytest.approx(30, abs=0.5)
    with pytest.raises(exceptions.NotFound, match="Not found: Table"):
        copied().result()
    never = bigquery.CopyJobConfig(create_disposition="CREATE_NEVER")
    with pytest.raises(exceptions.NotFound, match=r"Not found: Model .*other"):
        client.copy_table(f"{place}.copy", f"{place}.other", job_config=never).result()
    with pytest.raises(exceptions.BadRequest, match="one model at a time"):
        client.copy_table([f"{place}.copy"] * 2, f"{place}.other").result()
