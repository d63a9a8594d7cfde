"""Jobs that take what they may not have: each ends with words, and nothing else suffers."""

from __future__ import annotations

import os

import pytest
from tests.services.aiplatform.test_custom_jobs import ended, plain, told
from tests.waiting import until

HOSTILE = [
    ("held = bytearray(1 << 40)", "It ran out of memory: it may use at most"),
    ("open('big', 'wb').truncate(17 << 30)", "A file grew beyond the 16,384 MiB"),
    ("import os; os.kill(os.getpid(), 9)", "the signal SIGKILL. Something outside of it killed it"),
    ("import sys; sys.exit('my own last words')", "non-zero status of 1. Its last lines:\nmy own last words"),
]


@pytest.mark.parametrize(("script", "says"), HOSTILE)
def test_it_is_told_why_it_ended(aiplatform, bucket, script, says):
    job = aiplatform.CustomJob("hostile", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit(service_account="trainer@test-project.iam.gserviceaccount.com")
    found = ended(job)
    assert says in found.error.message
    assert found.job_spec.service_account == "trainer@test-project.iam.gserviceaccount.com"


@pytest.mark.slow
def test_more_processes_than_it_may_have(aiplatform, bucket):
    script = "import os, time\nfor _ in range(600):\n    os.fork() or time.sleep(983)\ntime.sleep(983)"
    job = aiplatform.CustomJob("forks", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    found = ended(job)
    assert found.error.code == 8 and "at most 512 are allowed" in found.error.message


@pytest.mark.slow
def test_memory_that_children_take_counts(aiplatform, bucket):
    script = """
import os, time
for _ in range(6):
    if not os.fork():
        held = bytearray(b"x" * (1 << 30))
        time.sleep(982)
time.sleep(982)
"""
    small = plain(script)
    small[0]["machine_spec"]["machine_type"] = "n1-highcpu-2"
    job = aiplatform.CustomJob("memory", small, staging_bucket=f"gs://{bucket.name}")
    job.submit()
    found = ended(job)
    assert (
        found.error.code == 8
        and "Replica workerpool0-0 exited because it ran out of memory" in found.error.message
    )


@pytest.mark.slow
def test_output_without_end(portico, aiplatform, bucket):
    script = "line = 'x' * 10_000\nwhile True:\n    print(line)"
    job = aiplatform.CustomJob("chatter", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    until(lambda: "the log is full at 64 MiB" in told(portico, job), "the log is full")
    job.cancel()
    assert ended(job).state.name == "JOB_STATE_CANCELLED"
    assert len(told(portico, job)) < 70 << 20


@pytest.mark.slow
def test_a_queue_of_500_jobs_drains(portico, aiplatform, bucket):
    count = int(os.environ.get("PORTICO_TESTS_QUEUE", "500"))
    made = []
    for _ in range(count):
        job = aiplatform.CustomJob("queued", plain("print('x')"), staging_bucket=f"gs://{bucket.name}")
        job.submit()
        made.append(job.resource_name)

    def left() -> int:
        states = [one.state.name for one in aiplatform.CustomJob.list(filter='display_name="queued"')]
        assert "JOB_STATE_FAILED" not in states
        return states.count("JOB_STATE_SUCCEEDED")

    until(lambda: left() == count, "all are done", seconds=240 + 30 * count)
