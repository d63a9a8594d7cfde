"""A job that runs until the test has done with it, and what its token says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from tests.waiting import until

from portico.jobs.tokens import Claims
from portico.services.iam.bindings import agent
from portico.store import jobs
from portico.store.database import Database

_SLEEPS = "import time\ntime.sleep(600)"


@contextmanager
def of(portico: Any, project: str) -> Iterator[Claims]:
    """A custom job of the project."""
    place = f"{portico.url}/v1/projects/{project}/locations/us-central1/customJobs"
    container = {
        "imageUri": "python:3.11",
        "command": ["python", "-c", _SLEEPS],
    }
    spec = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    made = requests.post(
        place, json={"displayName": "runs", "jobSpec": {"workerPoolSpecs": [spec]}}, timeout=240
    )
    name = made.json()["name"]
    database = Database(portico.home)

    def running() -> str:
        with database.read() as connection:
            found = [one for one in jobs.of_resource(connection, name) if one.state == "RUNNING"]
        return found[0].id if found else ""

    try:
        yield Claims(until(running, "the job runs"), agent(project), time.time() + 600)
    finally:
        requests.post(f"{portico.url}/v1/{name}:cancel", json={}, timeout=240)
        database.close()
