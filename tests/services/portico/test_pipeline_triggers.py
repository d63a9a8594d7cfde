"""Triggers: a pipeline starts when an object, a dataset version or an alert comes, once for each, and says why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from tests.services.aiplatform.conftest import booster, upload  # noqa: F401
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.monitored import csv_of, monitor, put, rows
from tests.waiting import until

from portico.client.api import Client
from portico.errors import InvalidArgument, NotFound

PLACE = "projects/test-project/locations/us-central1"
SOURCE = """
@dsl.component
def note(word: str) -> str:
    return word

@dsl.pipeline(name="noted-word")
def noted_word(word: str, size: int = 0, more: str = "x"):
    note(word=word)

# What starts at once and ends at once: nothing is run for it.
@dsl.pipeline(name="nothing-to-do")
def nothing_to_do(word: str):
    with dsl.If(word == "never"):
        note(word=word)
"""


@pytest.fixture
def client(portico: Any) -> Client:
    return Client(portico.url, project="test-project")


@pytest.fixture
def template(bucket: Any) -> Callable[[str], str]:
    """The gs:// name of a pipeline of SOURCE."""

    def uploaded(name: str) -> str:
        bucket.blob(f"templates/{name}.yaml").upload_from_filename(compiled(SOURCE)[name])
        return f"gs://{bucket.name}/templates/{name}.yaml"

    return uploaded


def create(client: Client, body: dict[str, Any]) -> str:
    made = client.call("POST", f"{client.parent}/triggers", body, triggerId=f"t{time.time_ns()}")
    return str(made["name"])


def runs_of(client: Client, trigger: str) -> list[dict[str, Any]]:
    """The oldest first."""
    return list(client.pages(f"{trigger}/runs", "runs"))[::-1]


def said(job: Any) -> str:
    job.wait()
    (task,) = (task for task in job.task_details if task.task_name == "note")
    return str(task.execution.metadata["output:Output"])


def test_an_object_starts_a_pipeline_that_is_told_of_it(portico, aiplatform, client, bucket, template):
    from google.cloud.aiplatform import pipeline_jobs

    pipeline_jobs._JOB_WAIT_TIME = 0.1
    trigger = create(client, {
        "displayName": "when data come",
        "object": {"uriPrefix": f"gs://{bucket.name}/incoming/", "uriSuffix": ".csv"},
        "pipeline": {
            "templateUri": template("noted_word"), "pipelineRoot": f"gs://{bucket.name}/root",
            "parameterValues": {"more": "y"}, "eventParameters": {"word": "uri", "size": "size"},
            "labels": {"team": "a"},
        },
    })  # fmt: skip
    for name in ("other/a.csv", "incoming/a.txt", "incoming/a.csv"):
        bucket.blob(name).upload_from_string("12345")
    (run,) = until(lambda: runs_of(client, trigger), "a run")
    blob = bucket.get_blob("incoming/a.csv")
    assert run["state"] == "STARTED"
    assert run["reason"] == f"gs://{bucket.name}/incoming/a.csv was written (generation {blob.generation})."
    assert run["event"]["kind"] == "OBJECT_FINALIZED" and run["event"]["size"] == 5
    job = aiplatform.PipelineJob.get(run["pipelineJob"])
    assert job.gca_resource.display_name == "when data come"
    assert job.gca_resource.labels["portico-trigger"] == trigger.rpartition("/")[2]
    assert job.gca_resource.labels["team"] == "a"
    assert job.gca_resource.runtime_config.parameter_values == {
        "more": "y", "word": f"gs://{bucket.name}/incoming/a.csv", "size": 5,
    }  # fmt: skip
    assert said(job) == f"gs://{bucket.name}/incoming/a.csv"
    context = job.gca_resource.job_detail.pipeline_run_context
    assert context.metadata["startedBy"] == trigger and context.metadata["reason"] == run["reason"]
    bucket.blob("incoming/a.csv").upload_from_string("again")  # another generation is another event
    bucket.copy_blob(blob, bucket, "incoming/b.csv")
    found = until(lambda: len(some := runs_of(client, trigger)) == 3 and some, "three runs")
    assert [one["event"]["object"] for one in found] == ["incoming/a.csv", "incoming/a.csv", "incoming/b.csv"]
    shown = client.call("GET", trigger)
    assert shown["firedCount"] == "3" and shown["lastFireTime"]

    client.call("PATCH", trigger, {"disabled": True}, updateMask="disabled")
    bucket.blob("incoming/c.csv").upload_from_string("1")
    client.call("PATCH", trigger, {"object": {"uriPrefix": f"gs://{bucket.name}/second/"}, "disabled": False},
                updateMask="object,disabled")  # fmt: skip
    bucket.blob("incoming/d.csv").upload_from_string("1")
    bucket.blob("second/e").upload_from_string("1")
    found = until(lambda: len(some := runs_of(client, trigger)) > 3 and some, "the next run")
    assert [one["event"]["object"] for one in found[3:]] == ["second/e"]

    bucket.blob("templates/noted_word.yaml").delete()
    bucket.blob("second/f").upload_from_string("1")
    failed = until(lambda: len(some := runs_of(client, trigger)) > 4 and some, "a run that fails")[-1]
    assert failed["state"] == "FAILED" and "noted_word.yaml" in failed["error"]["message"]
    assert "pipelineJob" not in failed
    client.call("DELETE", trigger)
    with pytest.raises(NotFound):
        client.call("GET", failed["name"])


def test_a_dataset_version_starts_a_pipeline(aiplatform, client, bucket, template):
    bucket.blob("data.csv").upload_from_string("a,b\n1,2\n")
    dataset = aiplatform.TabularDataset.create(
        display_name="watched", gcs_source=f"gs://{bucket.name}/data.csv"
    )
    trigger = create(client, {
        "datasetVersion": {"dataset": dataset.resource_name},
        "pipeline": {
            "templateUri": template("nothing_to_do"), "pipelineRoot": f"gs://{bucket.name}/root",
            "eventParameters": {"word": "datasetVersion"},
        },
    })  # fmt: skip
    made = client.call("POST", f"/v1/{dataset.resource_name}/datasetVersions", {})["response"]["name"]
    (run,) = until(lambda: runs_of(client, trigger), "a run")
    assert run["event"]["datasetVersion"] == made and made in run["reason"]
    job = aiplatform.PipelineJob.get(run["pipelineJob"])
    assert job.gca_resource.runtime_config.parameter_values == {"word": made}
    client.call("DELETE", trigger)


def test_what_a_monitor_finds_starts_a_pipeline(aiplatform, upload, client, bucket, template):  # noqa: F811
    watched = monitor(upload(), put(bucket, "training.csv", csv_of(rows(0, 2000))))
    trigger = create(client, {
        "alert": {"source": watched.resource_name},
        "pipeline": {
            "templateUri": template("nothing_to_do"), "pipelineRoot": f"gs://{bucket.name}/root",
            "eventParameters": {"word": "message"},
        },
    })  # fmt: skip
    for shift in (0.0, 2.0):
        target = put(bucket, f"target{shift}.csv", csv_of(rows(1, 1000, shift=shift)))
        watched.run(display_name="looked", target_dataset=target)
    (run,) = until(lambda: runs_of(client, trigger), "a run")
    assert run["state"] == "STARTED" and run["event"]["kind"] == "ALERT_OPENED"
    assert run["reason"] == f"{watched.resource_name} found: looked: 1 anomalies"
    assert len(run["event"]["details"]) == 1
    watched.delete(force=True)
    client.call("DELETE", trigger)


def test_what_a_trigger_lacks_is_said(client, bucket, template):
    here = {"uriPrefix": f"gs://{bucket.name}/x/"}
    uri = template("noted_word")
    good = {"templateUri": uri, "pipelineRoot": f"gs://{bucket.name}/r", "eventParameters": {"word": "uri"}}
    for body, words in (
        ({"pipeline": good}, "Give one of object, datasetVersion, alert"),
        ({"object": here, "alert": {"source": "x"}, "pipeline": good}, "Give one of"),
        ({"object": here}, "pipeline is missing"),
        ({"object": {"uriPrefix": "x"}, "pipeline": good}, "Not a Cloud Storage URI"),
        ({"object": here, "pipeline": {**good, "eventParameters": {"word": "colour"}}}, "contentType"),
        ({"object": here, "pipeline": {**good, "eventParameters": {}}}, "lacks word"),
        ({"object": here, "pipeline": {**good, "eventParameters": {"word": "size"}}}, "word"),
        ({"object": here, "pipeline": {**good, "templateUri": ""}}, "pipelineSpec is missing"),
        ({"object": here, "pipeline": {**good, "pipelineRoot": "x"}}, "gcsOutputDirectory"),
        (
            {"object": here, "pipeline": {**good, "pipelineRoot": f"gs://{bucket.name}/x"}},
            "start itself again",
        ),
        ({"datasetVersion": {"dataset": f"{PLACE}/datasets/1"}, "pipeline": good}, "must be a dataset"),
        ({"alert": {"source": f"{PLACE}/stewards/none"}, "pipeline": good}, "must be a steward"),
        ({"alert": {"source": "stewards/none"}, "pipeline": good}, "not a full resource name"),
    ):
        with pytest.raises(InvalidArgument) as error:
            create(client, body)
        assert words in error.value.message, (body, error.value.message)
    with pytest.raises(NotFound, match="no-such-bucket"):
        create(client, {"object": {"uriPrefix": "gs://no-such-bucket/"}, "pipeline": good})
    with pytest.raises(NotFound, match="nothing"):
        create(client, {"object": here, "pipeline": {**good, "templateUri": f"gs://{bucket.name}/nothing"}})


def test_each_event_starts_one_run_across_kills(new_portico, monkeypatch):
    """While objects are written, the server is killed again and again."""
    from google.auth import credentials
    from google.cloud import storage

    anonymous: Any = credentials.AnonymousCredentials
    server = new_portico().start()
    try:

        def held() -> Any:
            return storage.Client(
                project="test-project", credentials=anonymous(), client_options={"api_endpoint": server.url}
            ).bucket("fed")

        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        bucket = held()
        bucket.create(location="US")
        bucket.blob("t.yaml").upload_from_filename(compiled(SOURCE)["nothing_to_do"])
        client = Client(server.url, project="test-project")
        trigger = create(client, {
            "object": {"uriPrefix": "gs://fed/in/"},
            "pipeline": {
                "templateUri": "gs://fed/t.yaml", "pipelineRoot": "gs://fed/r", "eventParameters": {"word": "object"},
            },
        })  # fmt: skip
        written: list[str] = []
        stop = threading.Event()

        def feed() -> None:
            number = 0
            while not stop.is_set():
                try:
                    requests.post(
                        f"{server.url}/upload/storage/v1/b/fed/o?uploadType=media&name=in/{number}",
                        data=b"x",
                        timeout=240,
                    ).raise_for_status()
                    written.append(f"in/{number}")
                except requests.RequestException:
                    time.sleep(0.05)
                number += 1

        thread = threading.Thread(target=feed)
        thread.start()
        for kill in range(3):
            until(lambda enough=8 * (kill + 1): len(written) >= enough, "objects")
            server.kill()
            server.start()
        stop.set()
        thread.join()
        client = Client(server.url, project="test-project")
        names = {
            one["name"] for one in requests.get(f"{server.url}/storage/v1/b/fed/o?prefix=in/").json()["items"]
        }
        assert set(written) <= names
        found = until(lambda: len(some := runs_of(client, trigger)) >= len(names) and some, "a run for each")
        assert sorted(one["event"]["object"] for one in found) == sorted(names)
        assert {one["state"] for one in found} == {"STARTED"}
        jobs = list(client.pages(f"/v1/{PLACE}/pipelineJobs", "pipelineJobs"))
        assert sorted(one["name"] for one in jobs) == sorted(one["pipelineJob"] for one in found)
    finally:
        server.stop()
