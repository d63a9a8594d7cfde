"""A full disk: what grows is refused in Google's words, what is there is answered, and deleting makes room."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from tests import processes
from tests.conftest import Portico
from tests.waiting import until

from portico.clock import SystemClock
from portico.errors import ResourceExhausted
from portico.ids import RandomIds
from portico.jobs.engines.local import LocalProcesses
from portico.jobs.kinds import KINDS, JobKind
from portico.jobs.scheduler import Scheduler
from portico.store import disk, home, jobs
from portico.store.database import Database
from portico.store.gcs import Gcs
from portico.store.objects import buckets as objects_buckets

_SIZE = 72 << 20  # bytes of the small disk: spool and reserve take 40 MiB of them
L = "projects/p/locations/us-central1"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Portico]:
    """A server whose home is on a small disk of its own."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(mount)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    server = Portico(mount / "home")
    try:
        yield server.start()
        server.stop()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(server: Portico) -> None:
    """Takes all that is left of the disk, from outside, at a moment when no write of the server's has the reserve."""
    with still(server):
        take(server)


@contextlib.contextmanager
def still(server: Portico) -> Iterator[None]:
    """Nothing of the server moves in the block, and the reserve is lent to nobody."""
    here = processes.found(server.pids())

    def tell(number: int) -> None:
        for one in here:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def stands() -> bool:
        tell(signal.SIGSTOP)
        until(lambda: not any(processes.moves(one) for one in here), "all stand still")
        if disk.room(server.home).reserve:
            return True
        tell(signal.SIGCONT)
        return False

    try:
        until(stands, "no write has the reserve")
        yield
    finally:
        tell(signal.SIGCONT)


def take(server: Portico) -> None:
    file = server.home.parent / "others"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(1 << 16)):
            pass
    os.close(descriptor)


def upload(server: Portico, name: str, size: int) -> requests.Response:
    url = f"{server.url}/upload/storage/v1/b/first/o?uploadType=media&name={name}"
    return requests.post(url, data=bytes(size), timeout=240)


def test_a_full_disk_refuses_what_grows_and_deletes(small: Portico) -> None:
    def ask(method: str, path: str, body: object = None) -> requests.Response:
        return requests.request(method, small.url + path, json=body, timeout=240)

    assert ask("POST", "/storage/v1/b?project=p", {"name": "first"}).ok
    assert upload(small, "one", 6 << 20).ok and upload(small, "two", 1 << 20).ok
    endpoint = ask("POST", f"/v1/{L}/endpoints", {"displayName": "e"}).json()["response"]["name"]
    # More than there is room for: refused, and what came of it goes.
    assert upload(small, "large", 60 << 20).status_code == 429
    fill(small)
    for answer in (
        upload(small, "three", 1 << 20),
        ask("POST", "/storage/v1/b?project=p", {"name": "second"}),
        ask("POST", "/storage/v1/b/first/o/one/rewriteTo/b/first/o/copy", {}),
        ask("POST", f"/v1/{L}/endpoints", {"displayName": "f"}),
        ask("PATCH", f"/v1/{endpoint}?updateMask=displayName", {"displayName": "f"}),
        requests.post(f"{small.url}/upload/storage/v1/b/first/o?uploadType=resumable&name=r", timeout=240),
        requests.put(f"{small.url}/first/xml", data=b"x", timeout=240),
    ):
        assert answer.status_code == 429, answer.text
        assert "is full" in answer.text and "Delete what is not needed" in answer.text
    error = ask("POST", f"/v1/{L}/endpoints", {"displayName": "f"}).json()["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    # What is there is answered, and it is said.
    assert requests.get(f"{small.url}/storage/v1/b/first/o/two?alt=media", timeout=240).content == bytes(
        1 << 20
    )
    health = ask("GET", "/-/healthz")
    assert health.ok and health.json()["status"] == "diskFull" and "is full" in health.json()["message"]
    assert "portico_disk_full 1" in ask("GET", "/-/metrics").text
    command = [sys.executable, "-m", "portico.cli.main", "status", "--home", str(small.home)]
    assert "is full" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(found)["disk"]["full"] is True
    # Deleting works, also after a crash and a start on the full disk, and makes room.
    fill(small)
    assert ask("DELETE", f"/v1/{endpoint}").ok
    fill(small)
    small.kill()
    small.start()
    fill(small)
    assert ask("DELETE", "/storage/v1/b/first/o/two").status_code == 204
    assert upload(small, "three", 1 << 20).status_code == 429  # not enough yet for the reserve
    assert ask("DELETE", "/storage/v1/b/first/o/one").status_code == 204
    (small.home.parent / "others").unlink()
    assert upload(small, "three", 1 << 20).ok
    assert ask("GET", "/-/healthz").json()["status"] == "ok"
    assert disk.room(small.home).reserve == disk.RESERVE
    # What is kept though it is deleted is freed by its bucket's settings.
    kept = {"name": "kept", "softDeletePolicy": {"retentionDurationSeconds": "604800"}}
    assert ask("POST", "/storage/v1/b?project=p", kept).ok
    url = f"{small.url}/upload/storage/v1/b/kept/o?uploadType=media&name=o"
    assert requests.post(url, data=bytes(2 << 20), timeout=240).ok
    fill(small)
    before = set((small.home / "objects").glob("*/*"))
    assert ask("DELETE", "/storage/v1/b/kept/o/o").status_code == 204
    refused = requests.post(url, data=b"x", timeout=240)
    assert refused.status_code == 429 and "softDeletePolicy.retentionDurationSeconds" in refused.text
    assert set((small.home / "objects").glob("*/*")) == before
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Soft-deleted objects: 2.0 MiB" in told
    none = {"softDeletePolicy": {"retentionDurationSeconds": "0"}}
    assert ask("PATCH", "/storage/v1/b/kept", none).ok
    assert len(before - set((small.home / "objects").glob("*/*"))) == 1


def test_jobs_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    monkeypatch.setitem(KINDS, "quick", JobKind("quick", "builtins:id", lambda *_: None, lane="thread"))
    with database.write() as connection:
        jobs.insert(connection, id="1", kind="quick", resource="r", payload={}, now=1.0, lane="thread")
    scheduler = Scheduler(tmp_path, database, SystemClock(), RandomIds(), LocalProcesses(tmp_path, []))

    def step() -> str:
        scheduler._start_queued()
        for running in scheduler._threads.values():
            assert running.over.wait(240)
        with database.read() as connection:
            job = jobs.get(connection, "1")
        assert job is not None
        return job.state

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_free", lambda _: 0)
        assert step() == "QUEUED"
    assert step() == "SUCCEEDED"
    database.close()


def test_the_reserve_is_given_up_and_filled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no disk can be made: the system says how much is free."""
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    gcs = Gcs(tmp_path, database)
    with database.write() as connection:
        objects_buckets.insert(connection, "first", "p", {"location": "US"}, 1.0)
    gcs.write("gs://first/one", b"1")
    assert disk.room(tmp_path).reserve == disk.RESERVE and not disk.room(tmp_path).full
    free = 1 << 20
    monkeypatch.setattr(disk, "_free", lambda _: free)
    with pytest.raises(ResourceExhausted, match="Delete what is not needed"):
        gcs.write("gs://first/two", b"2")
    with database.write():
        assert disk.room(tmp_path) == disk.Room(free, 0, True)
    assert disk.room(tmp_path) == disk.Room(free, free, True)  # taken back, as much as is left
    free = disk.LOW + disk.RESERVE  # not enough for the reserve and more
    with pytest.raises(ResourceExhausted):
        gcs.write("gs://first/two", b"2")
    free = 4 * disk.RESERVE
    gcs.write("gs://first/two", b"2")
    assert disk.room(tmp_path) == disk.Room(free, disk.RESERVE, False)
    database.close()


def test_a_database_that_finds_no_room_says_so(tmp_path: Path) -> None:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    with pytest.raises(ResourceExhausted, match="is full"), database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
        connection.exec_driver_sql("CREATE TABLE large AS SELECT zeroblob(1000000) AS blob")
    database.close()
