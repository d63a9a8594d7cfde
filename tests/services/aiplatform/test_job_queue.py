"""What custom jobs ask of the machine, how they wait for it, and what they say meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.services.aiplatform.test_custom_jobs import PLAIN, ended, told
from tests.waiting import until

from portico.jobs.engines import machine
from portico.services.aiplatform.custom import spec, workers
from portico.store.jobs import Resources

GIB = 1 << 30


def asks(monkeypatch: pytest.MonkeyPatch, here: Resources, *types: str) -> Resources:
    monkeypatch.setattr(machine, "resources", lambda: here)
    monkeypatch.setattr("os.sysconf", lambda name: here.memory // 4096 if name == "SC_PHYS_PAGES" else 4096)
    return spec.asks_of(
        Path("no cluster"), {"workerPoolSpecs": [{"machineSpec": {"machineType": one}} for one in types]}
    )


def test_what_a_job_asks_for(monkeypatch):
    small, large = Resources(2.0, 24 * GIB), Resources(8.0, 32 * GIB)
    both = asks(monkeypatch, small, "n1-standard-4")
    assert both == Resources(1.0, int(7.5 * GIB))  # two side by side
    assert asks(monkeypatch, small, "n1-highmem-8") == Resources(1.0, 18 * GIB)  # one at a time
    assert asks(monkeypatch, large, "n1-standard-4") == Resources(4.0, 15 * GIB)
    assert asks(monkeypatch, large, "n1-standard-8") == Resources(7.0, 24 * GIB)  # beside it, Portico's own
    assert asks(monkeypatch, large, "n1-standard-1", "n1-standard-1") == Resources(2.0, int(7.5 * GIB))


def submit(aiplatform: Any, bucket: Any, script: str, machine_type: str = "n1-highmem-96") -> Any:
    pool = {
        "machine_spec": {"machine_type": machine_type},
        "replica_count": 1,
        "container_spec": {"image_uri": PLAIN, "command": ["python", "-c", script]},
    }
    job = aiplatform.CustomJob("queued", [pool], staging_bucket=f"gs://{bucket.name}")
    job.submit()
    return job


def test_a_job_that_waits_says_why(portico, aiplatform, bucket):
    first = submit(aiplatform, bucket, "import time; time.sleep(900)")
    until(lambda: "sleep" in told(portico, first), "the first runs")
    second = submit(aiplatform, bucket, "print('at last')")
    third = submit(aiplatform, bucket, "print('and then')")
    number = first.resource_name.rpartition("/")[2]

    def shown() -> dict[str, str]:
        command = [sys.executable, "-m", "portico.cli.main", "jobs", "--home", str(portico.home)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return {line.split()[1].rstrip(":"): line for line in lines}

    def of(job: Any) -> str:
        return shown().get("customJobs/" + job.resource_name.rpartition("/")[2], "")

    until(lambda: "waits its turn" in of(third), "both say why they wait")
    assert "waits for memory (asks for" in of(second) and f"customJobs/{number} runs" in of(second)
    assert of(first).startswith("RUNNING")
    status = subprocess.run(
        [sys.executable, "-m", "portico.cli.main", "status", "--home", str(portico.home)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "waits for memory" in status and "waits its turn" in status
    first.cancel()
    assert ended(first).state.name == "JOB_STATE_CANCELLED"
    for job, words in ((second, "at last"), (third, "and then")):
        until(lambda words=words, job=job: words in told(portico, job), "it runs")
    log = told(portico, second)
    assert (
        log.index("waits for memory") < log.index("attempt 1") and log.count(f"customJobs/{number} runs") == 1
    )


def test_what_uses_more_than_it_asked_for_gives_way_where_memory_runs_short(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from portico.errors import ResourceExhausted
    from portico.jobs.kinds import Crowded
    from portico.sandbox.isolation import Limits

    monkeypatch.setattr(workers.use, "of_below", lambda pid: (8 * GIB, 1))
    worker = workers.Worker("workerpool0-0", [], [], {}, tmp_path, Limits(15 * GIB, processes=9))
    worker.process = SimpleNamespace(pid=1)
    notes: list[str] = []
    output = SimpleNamespace(note=lambda text, severity: notes.append(text))

    def group(sure: int, retries: bool = True) -> Any:
        context = SimpleNamespace(job=SimpleNamespace(memory=sure))
        return workers.Group(context, [worker], None, output, workers.Terms(60.0, retries=retries))

    monkeypatch.setattr(machine, "runs_short", lambda: True)
    group(9 * GIB)._check_use(worker)
    with pytest.raises(Crowded, match="begins anew when 15 GiB are free"):
        group(7 * GIB)._check_use(worker)
    assert notes
    with pytest.raises(ResourceExhausted, match="disableRetries"):
        group(7 * GIB, retries=False)._check_use(worker)
    monkeypatch.setattr(machine, "runs_short", lambda: False)
    group(7 * GIB)._check_use(worker)
    assert not machine.runs_short()


@pytest.mark.slow
def test_a_queue_of_500_jobs_drains(new_portico):
    """While it does nothing is oversubscribed, and the listing pages through all of them."""
    import requests

    from portico.store import jobs
    from portico.store.database import Database

    server = new_portico().start()
    database = Database(server.home)
    parent = f"{server.url}/v1/projects/p/locations/us-central1"
    most = machine.resources()
    try:
        names = []
        for number in range(500):
            pool = {
                "containerSpec": {"imageUri": PLAIN, "command": ["python", "-c", f"print('job', {number})"]}
            }
            body = {"displayName": f"job {number}", "jobSpec": {"workerPoolSpecs": [pool]}}
            made = requests.post(f"{parent}/customJobs", json=body, timeout=240)
            made.raise_for_status()
            names.append(made.json()["name"])

        def listed(**more: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            token = ""
            while True:
                asked = {"pageSize": "100", "pageToken": token, **more}
                told = requests.get(f"{parent}/customJobs", params=asked, timeout=240).json()
                page = told.get("customJobs", [])
                assert len(page) <= 100
                found += page
                if not (token := told.get("nextPageToken", "")):
                    return found

        seen = set()

        def drained() -> bool:
            with database.read() as connection:
                running = list(jobs.in_state(connection, "RUNNING"))
                left = jobs.active(connection, "customJobs")
            assert sum(job.cores for job in running) <= most.cores
            assert sum(job.memory for job in running) <= most.memory
            seen.update(job.id for job in running)
            return not left

        until(drained, "all have ended", seconds=3000)
        every = listed()
        assert [one["name"] for one in every] == names[::-1]
        assert {one["state"] for one in every} == {"JOB_STATE_SUCCEEDED"}
        assert len(listed(filter='state="JOB_STATE_SUCCEEDED"')) == 500 and seen
        logs = "".join(path.read_text() for path in server.home.glob("jobs/*/log.txt"))
        assert all(f"] job {number}\n" in logs or f" job {number}\n" in logs for number in range(500))
        # Each says once or twice why it waits, however often others end before it.
        assert logs.count(" waits ") < 3 * 500
    finally:
        database.close()
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_queue_of_five_hundred_drains(portico, aiplatform, bucket):
    small = [submit(aiplatform, bucket, "print('one of many')", "n1-standard-4") for _ in range(500)]
    names = {job.resource_name for job in small}

    def states() -> Counter[str]:
        shown = aiplatform.CustomJob.list(filter='display_name="queued"')
        return Counter(job.state.name for job in shown if job.resource_name in names)

    def over() -> bool:
        return not states().keys() & {"JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"}

    until(over, "all have ended", seconds=3000)
    assert states() == {"JOB_STATE_SUCCEEDED": 500}
    assert (
        len([path for path in portico.home.glob("jobs/*/log.txt") if "one of many" in path.read_text()])
        >= 500
    )
