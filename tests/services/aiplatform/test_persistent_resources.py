"""Persistent resources: what runs on one finds a process that waits."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform.persistent_resource import PersistentResource
from tests.services.aiplatform.test_custom_jobs import PLAIN, ended, package, plain, told
from tests.waiting import until


@pytest.fixture
def persistent(aiplatform: Any) -> Any:
    made = PersistentResource.create(
        "warm", [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}], display_name="Warm"
    )
    yield made
    made.delete()


SCRIPT = """
import os, sys, trainer
waited = "threadpoolctl" in sys.modules
given = open("/gcs/BUCKET/in.txt").read()
print("imported:", waited, trainer.__name__, __name__, sys.argv[1:], given, os.environ["MINE"])
import threadpoolctl
open("/gcs/BUCKET/" + os.environ["CLOUD_ML_JOB_ID"], "w").write("done")
open("left", "x").write("each begins in a folder of its own")
"""


def test_jobs_on_one_run_in_processes_that_wait(portico, aiplatform, bucket, persistent):
    assert persistent.state.name == "RUNNING" and persistent.display_name == "Warm"
    uri = package(bucket, SCRIPT.replace("BUCKET", bucket.name), "threadpoolctl==3.5.0\n")
    asked = {"executor_image_uri": PLAIN, "package_uris": [uri], "python_module": "trainer.task",
             "env": [{"name": "MINE", "value": "m y"}]}  # fmt: skip
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}
    for number in range(2):
        bucket.blob("in.txt").upload_from_string(f"as of {number}")
        spec = [{**pool, "python_package_spec": {**asked, "args": ["a", str(number)]}}]
        job = aiplatform.CustomJob("warm", spec, staging_bucket=f"gs://{bucket.name}")
        job.run(persistent_resource_id="warm")
        log = told(portico, job)
        # What the first came to import is there when the second begins.
        assert f"imported: {bool(number)} trainer __main__ ['a', '{number}'] as of {number} m y" in log
        assert ("A process that waited for it runs it." in log) == bool(number)
        assert bucket.blob(job.resource_name.rpartition("/")[2]).download_as_text() == "done"
        # What it read is recorded as elsewhere.
        [run] = aiplatform.Execution.list(filter=f'metadata.customJob.string_value="{job.resource_name}"')
        read = {one.uri: one.metadata.get("generation") for one in run.get_input_artifacts()}
        generation = str(bucket.get_blob("in.txt").generation)
        assert read == {uri: read[uri], f"gs://{bucket.name}/in.txt": generation}


def test_what_fails_hangs_or_is_cancelled_ends_as_elsewhere(portico, aiplatform, bucket, persistent):
    import psutil

    def failed(script: str, **options: Any) -> Any:
        job = aiplatform.CustomJob("ends", plain(script), staging_bucket=f"gs://{bucket.name}")
        job.submit(persistent_resource_id="warm", **options)
        return job

    error = ended(failed("print('before'); raise ValueError('on purpose')")).error
    assert "non-zero status of 1" in error.message and "ValueError: on purpose" in error.message
    assert "runner.py" not in error.message and 'File "<string>", line 1' in error.message
    assert "status of 3" in ended(failed("import sys; sys.exit(3)")).error.message
    assert "SIGSEGV" in ended(failed("import os; os.kill(os.getpid(), 11)")).error.message
    assert ended(failed("import time; time.sleep(900)", timeout=1)).error.code == 4
    tree = failed("import subprocess; subprocess.run(['sleep', '984.5'])")

    def sleepers() -> list[int]:
        return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "984.5"]]

    until(sleepers, "its child runs")
    with pytest.raises(exceptions.BadRequest, match="jobs are on"):
        persistent.delete()
    second = failed("raise SystemExit(4)")  # waits: there is one replica
    tree.cancel()
    assert ended(tree).state.name == "JOB_STATE_CANCELLED"
    until(lambda: not sleepers(), "nothing is left of it")
    assert "status of 4" in ended(second).error.message


def test_a_training_runs_in_a_process_that_waits(portico, aiplatform, bucket, persistent):
    job = aiplatform.CustomContainerTrainingJob(
        "trains", PLAIN, command=["python", "-c", "print('it trains')"], staging_bucket=f"gs://{bucket.name}"
    )
    job.run(persistent_resource_id="warm", base_output_dir=f"gs://{bucket.name}/trained")
    log = told(portico, job)
    assert "it trains" in log and ("A process that waited for it" in log or "A new process runs it" in log)
    with pytest.raises(exceptions.BadRequest, match="persistentResources/absent"):
        aiplatform.CustomContainerTrainingJob(
            "trains", PLAIN, command=["true"], staging_bucket=f"gs://{bucket.name}"
        ).run(persistent_resource_id="absent")


def test_the_resource_itself(portico, aiplatform, bucket):
    made = PersistentResource.create("self", [{"replica_count": 2}], labels={"a": "b"})
    assert [one.name for one in PersistentResource.list() if one.name == "self"] == ["self"]
    with pytest.raises(exceptions.Conflict):
        PersistentResource.create("self", [{"replica_count": 1}])
    made.reboot()
    job = aiplatform.CustomJob(
        "after", plain("print('after a reboot')"), staging_bucket=f"gs://{bucket.name}"
    )
    job.run(persistent_resource_id="self")
    assert "after a reboot" in told(portico, job)
    made.delete()
    with pytest.raises(exceptions.BadRequest, match="persistentResources/self"):
        aiplatform.CustomJob("none", plain("1"), staging_bucket=f"gs://{bucket.name}").submit(
            persistent_resource_id="self"
        )
    with pytest.raises(exceptions.BadRequest, match="needs a pool"):
        PersistentResource.create("nopool", [])
