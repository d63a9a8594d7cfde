"""Jobs of several workers: processes that find each other, and end together."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.services.aiplatform.test_custom_jobs import PLAIN, ended, told
from tests.waiting import until


def pools(script: str, *replicas: int) -> list[dict[str, Any]]:
    container = {"image_uri": PLAIN, "command": ["python", "-c", script]}
    return [
        {
            "machine_spec": {"machine_type": "n1-standard-1"},
            "replica_count": count,
            "container_spec": container,
        }
        if count
        else {}
        for count in replicas
    ]


RENDEZVOUS = """
import json, os, pathlib, socket, time
here = json.loads(os.environ["CLUSTER_SPEC"])
task, hosts = here["task"], [host for pool in here["cluster"].values() for host in pool]
own = here["cluster"][task["type"]][task["index"]].split(":")
tf = json.loads(os.environ["TF_CONFIG"])
assert tf["cluster"][tf["task"]["type"]][tf["task"]["index"]].split(":") == own
assert here["open_ports"] == [int(os.environ["MASTER_PORT"])]
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
assert size == len(hosts) and hosts[rank].split(":") == own
print(sorted(here["cluster"]), sorted(tf["cluster"]), task["type"], tf["task"]["type"], rank)
shared = pathlib.Path("/gcs/BUCKET")
(shared / f"from-{rank}.txt").write_text(str(rank))
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    server = socket.create_server(address)
    told = sorted(server.accept()[0].makefile().read() for _ in range(size - 1))
    print("told by", told, sorted(path.name for path in shared.glob("from-*")))
else:
    while True:
        try:
            with socket.create_connection(address) as to_chief:
                to_chief.sendall(str(rank).encode())
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    if rank == 3:
        time.sleep(987)  # as a parameter server does
"""


@pytest.mark.parametrize("stays", [False, pytest.param(True, marks=pytest.mark.slow)])  # ten seconds
def test_workers_meet_and_end_with_the_chief(portico, aiplatform, bucket, stays):
    script = RENDEZVOUS.replace("987", "987.25" if stays else "0").replace("BUCKET", bucket.name)
    job = aiplatform.CustomJob("four", pools(script, 1, 2, 1), staging_bucket=f"gs://{bucket.name}")
    job.run()
    log = told(portico, job)
    names = "['workerpool0', 'workerpool1', 'workerpool2'] ['chief', 'ps', 'worker']"
    assert f"workerpool0-0: {names} workerpool0 chief 0" in log
    assert f"workerpool1-1: {names} workerpool1 worker 2" in log
    assert f"workerpool2-0: {names} workerpool2 ps 3" in log
    assert "told by ['1', '2', '3'] ['from-0.txt', 'from-1.txt', 'from-2.txt', 'from-3.txt']" in log
    assert ("workerpool2-0 is ended: the chief, workerpool0-0, is done." in log) == stays
    assert sorted(blob.name for blob in bucket.list_blobs(prefix="from-")) == [
        f"from-{n}.txt" for n in range(4)
    ]


def sleepers(seconds: str) -> list[int]:
    import psutil

    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


def test_one_that_fails_fails_the_job_and_the_others_end(aiplatform, bucket):
    script = """
import os, subprocess, time
if os.environ["RANK"] == "1":
    raise ValueError("on purpose, by one of three")
subprocess.run(["sleep", "986.5"])
"""
    job = aiplatform.CustomJob("one fails", pools(script, 1, 2), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    found = ended(job)
    assert "The replica workerpool1-0 exited with a non-zero status of 1" in found.error.message
    assert "ValueError: on purpose, by one of three" in found.error.message
    until(lambda: not sleepers("986.5"), "nothing is left of it")


def test_cancelling_ends_all(aiplatform, bucket):
    script = "import subprocess; subprocess.run(['sleep', '985.5'])"
    job = aiplatform.CustomJob("cancelled", pools(script, 1, 2), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    until(lambda: len(sleepers("985.5")) == 3, "all run")
    job.cancel()
    assert ended(job).state.name == "JOB_STATE_CANCELLED"
    until(lambda: not sleepers("985.5"), "nothing is left of it")


KILLED = """
import os, pathlib, signal
mark = pathlib.Path("killed-once")
if os.environ["RANK"] == "1" and not mark.exists():
    mark.write_text("")
    os.kill(os.getpid(), signal.SIGKILL)  # as the system does when the machine has no memory left
print("begins")
if os.environ["RANK"] == "0":
    import time
    shared = pathlib.Path("/gcs/BUCKET/second")
    while not shared.exists():
        time.sleep(0.02)
else:
    pathlib.Path("/gcs/BUCKET/second").write_text("")
"""


@pytest.mark.parametrize("every", [False, True])
def test_a_killed_worker_is_started_again(portico, aiplatform, bucket, every):
    script = KILLED.replace("BUCKET", bucket.name)
    job = aiplatform.CustomJob("killed", pools(script, 1, 1), staging_bucket=f"gs://{bucket.name}")
    job.run(restart_job_on_worker_restart=every)
    log = told(portico, job)
    assert f"workerpool1-0 was killed: {'all workers are' if every else 'it is'} started again." in log
    assert "workerpool1-0: begins" in log


def test_what_all_ask_for_together_is_asked_for(portico, aiplatform, bucket):
    import requests

    job = aiplatform.CustomJob("shares", pools("print('x')", 1, 5), staging_bucket=f"gs://{bucket.name}")
    job.run()

    cores = os.cpu_count() or 1
    assert (f"6 workers share the {cores} cores" in told(portico, job)) == (cores < 6)
    body = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [
        {"replicaCount": 2, "containerSpec": {"imageUri": PLAIN, "command": ["x"]}}]}}  # fmt: skip
    url = f"{portico.url}/v1/projects/p/locations/us-central1/customJobs"
    answer = requests.post(url, json=body, timeout=240)
    assert answer.status_code == 400 and "workerPoolSpecs[0].replicaCount" in answer.text
    body["jobSpec"]["workerPoolSpecs"] = [
        {"containerSpec": {"imageUri": PLAIN, "command": ["x"]}, "replicaCount": n} for n in (1, 100)
    ]
    answer = requests.post(url, json=body, timeout=240)
    assert answer.status_code == 400 and "At most 64 workers" in answer.text
