"""Jobs on a Ray cluster (`portico up --ray`): the same client code, whatever happens to the cluster's machines."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from tests import processes
from tests.conftest import Portico
from tests.ray_cluster import Cluster, Node
from tests.services.aiplatform.test_tuning import tuning
from tests.waiting import until

pytestmark = pytest.mark.slow
PLAIN = "python:3.11"


@pytest.fixture(scope="module")
def portico(new_portico: Callable[..., Portico], ray_cluster: Cluster) -> Iterator[Portico]:
    server = new_portico()
    server.options += ("--ray", ray_cluster.address)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.home / "credentials.json"))
        yield server
    server.stop()


@pytest.fixture
def submit(aiplatform: Any, bucket: Any) -> Callable[..., Any]:
    def submitted(script: str, machine: str = "n1-highcpu-2", **spec: Any) -> Any:
        pool = {
            "machine_spec": {"machine_type": machine, **spec},
            "replica_count": 1,
            "container_spec": {"image_uri": PLAIN, "command": ["python", "-c", script]},
        }
        job = aiplatform.CustomJob("mine", [pool], staging_bucket=f"gs://{bucket.name}")
        job.submit()
        return job

    return submitted


def state_of(job: Any) -> str:
    job._sync_gca_resource()
    return str(job.state.name)


def ended(job: Any) -> str:
    """How it ended."""
    done = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
    return until(lambda: state if (state := state_of(job)) in done else "", "the job has ended")


def sleepers(seconds: int) -> list[psutil.Process]:
    """What runs `sleep SECONDS`."""
    command = ["sleep", str(seconds)]
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == command]


def node_of(cluster: Cluster, process: psutil.Process) -> Node:
    """The node that runs it."""
    above = {one.pid for one in process.parents()}
    return next(node for node in cluster.nodes if node.process.pid in above)


def sleeping(seconds: int) -> str:
    return f"import subprocess; subprocess.run(['sleep', '{seconds}'])"


def told(portico: Portico, job: Any) -> str:
    job_id = job.resource_name.rpartition("/")[2]
    return "\n".join(
        text for path in portico.home.glob("jobs/*/log.txt") if job_id in (text := path.read_text())
    )


def test_a_custom_job_runs_on_a_node_and_cancelling_ends_all_of_it(portico, ray_cluster, submit):
    job = submit(sleeping(9871))
    (process,) = until(lambda: sleepers(9871), "it runs")
    assert node_of(ray_cluster, process) in ray_cluster.nodes and process.pid not in portico.pids()
    job.cancel()
    assert ended(job) == "JOB_STATE_CANCELLED"
    until(lambda: not sleepers(9871), "nothing is left of it")
    assert "confined by" in told(portico, job)
    job = submit("import sys; print('to the log'); sys.exit(3)")
    assert ended(job) == "JOB_STATE_FAILED" and "non-zero status of 3" in job.error.message
    assert "to the log" in told(portico, job)


def test_machine_types_fill_the_nodes(portico, ray_cluster, submit):
    jobs = [submit(sleeping(9872), "n1-highcpu-2") for _ in range(5)]
    running = until(lambda: found if len(found := sleepers(9872)) == 4 else [], "four run, two on each node")
    assert sorted(Counter(node_of(ray_cluster, one).process.pid for one in running).values()) == [2, 2]
    assert Counter(map(state_of, jobs)) == {"JOB_STATE_RUNNING": 4, "JOB_STATE_PENDING": 1}
    for job in jobs:
        job.cancel()
    assert {ended(job) for job in jobs} == {"JOB_STATE_CANCELLED"}


def test_a_node_that_dies_has_its_jobs_run_on_another(portico, ray_cluster, submit):
    job = submit(sleeping(29))
    (process,) = until(lambda: sleepers(29), "it runs")
    node = node_of(ray_cluster, process)
    node.kill()
    ray_cluster.nodes.remove(node)
    until(lambda: not psutil.pid_exists(process.pid), "it went down with the node")
    (again,) = until(lambda: sleepers(29), "it runs again")
    assert node_of(ray_cluster, again) in ray_cluster.nodes
    assert ended(job) == "JOB_STATE_SUCCEEDED"
    ray_cluster.add(4)


def test_what_runs_is_found_again_when_portico_restarts(portico, ray_cluster, submit):
    job, queued = submit(sleeping(31)), submit(sleeping(9873))
    (process,) = until(lambda: sleepers(31), "it runs")
    until(lambda: sleepers(9873), "the other runs, too")
    portico.kill()
    portico.start()
    assert process.is_running() and sleepers(31) == [process]
    queued.cancel()
    assert ended(queued) == "JOB_STATE_CANCELLED" and not sleepers(9873)
    assert ended(job) == "JOB_STATE_SUCCEEDED"
    assert "attempt 1" in told(portico, job) and "attempt 2" not in told(portico, job)


def test_a_driver_that_dies_is_started_again_and_finds_what_runs(portico, submit):
    job = submit(sleeping(37))
    (process,) = until(lambda: sleepers(37), "it runs")
    [driver] = processes.running(portico.pids(), "driver.py")
    driver.kill()
    after = submit("print('after')")
    assert ended(after) == "JOB_STATE_SUCCEEDED"
    assert ended(job) == "JOB_STATE_SUCCEEDED" and not process.is_running()
    assert "attempt 2" not in told(portico, job)


def test_trials_run_on_the_nodes(portico, ray_cluster, aiplatform, bucket):
    job = tuning(aiplatform, bucket, "report('score', given.depth)")
    job.run(sync=True)
    assert len(job.trials) == 4 and all(trial.state.name == "SUCCEEDED" for trial in job.trials)


def test_a_model_is_trained_and_predicts_in_batch(portico, ray_cluster, aiplatform, bucket):
    rows = "\n".join(f"{number % 7},{number % 3},{int(number % 7 > 3)}" for number in range(400))
    bucket.blob("table.csv").upload_from_string(f"a,b,y\n{rows}\n")
    dataset = aiplatform.TabularDataset.create("table", gcs_source=[f"gs://{bucket.name}/table.csv"])
    training = aiplatform.AutoMLTabularTrainingJob("fit", optimization_prediction_type="classification")
    model = training.run(dataset, target_column="y", budget_milli_node_hours=1)
    batch = model.batch_predict(
        job_display_name="batch", gcs_source=f"gs://{bucket.name}/table.csv", instances_format="csv",
        gcs_destination_prefix=f"gs://{bucket.name}/out", machine_type="n1-standard-2", sync=True,
    )  # fmt: skip
    assert batch.completion_stats.successful_count == 400


def test_a_head_that_restarts_is_found_again(portico, ray_cluster, submit):
    """Without a store that outlives it, its nodes go with it."""
    job = submit(sleeping(23))
    (process,) = until(lambda: sleepers(23), "it runs")
    assert ray_cluster.head
    ray_cluster.head.kill()
    for node in ray_cluster.nodes:
        node.kill()
    ray_cluster.nodes.clear()
    until(lambda: not process.is_running(), "it went down with its node")
    assert state_of(job) == "JOB_STATE_RUNNING"
    waits = submit("print('waits')", "n1-highcpu-4")
    ray_cluster.start(4, 4)
    assert (ended(job), ended(waits)) == ("JOB_STATE_SUCCEEDED", "JOB_STATE_SUCCEEDED")


def test_whatever_is_killed_no_job_is_lost(portico, ray_cluster, submit):
    chance = random.Random(16)
    jobs = [submit(sleeping(2)) for _ in range(12)]

    def kill_node() -> None:
        node = chance.choice(ray_cluster.nodes)
        node.kill()
        ray_cluster.nodes.remove(node)
        ray_cluster.add(4)

    def kill_keeper() -> None:
        keepers = chance.choice(ray_cluster.nodes).processes("ray::Keeper")
        for one in keepers:
            one.kill()

    def kill_driver() -> None:
        for one in processes.running(portico.pids(), "driver.py"):
            one.kill()

    def kill_portico() -> None:
        portico.kill()
        portico.start()

    for kill in chance.sample([kill_node, kill_keeper, kill_driver, kill_portico, kill_node], 5):
        until(lambda: sleepers(2) or all(state_of(job) == "JOB_STATE_SUCCEEDED" for job in jobs), "some run")
        kill()
    assert {ended(job) for job in jobs} == {"JOB_STATE_SUCCEEDED"}
    assert not sleepers(2)


def test_a_cluster_that_is_not_there_is_refused_with_words(new_portico, ray_cluster):
    server = new_portico()
    for address, words in (("127.0.0.1:1", "Connection refused"), ("nowhere", "HOST:PORT")):
        command = [sys.executable, "-m", "portico.cli.main", "up", "--home", str(server.home), "--port", "0"]
        refused = subprocess.run([*command, "--ray", address], capture_output=True, text=True)
        assert refused.returncode == 1 and words in refused.stderr and "Traceback" not in refused.stderr
