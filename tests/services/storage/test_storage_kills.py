"""SIGKILL at any moment: what was acknowledged is whole, what was not is not there, nothing is left over."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import threading
import time

import pytest
from test_storage_wire import Wire, broken_put
from tests.waiting import until

BUCKET = "kill-bucket"


def data_of(name: str) -> bytes:
    return hashlib.shake_128(name.encode()).digest(random.Random(name).randrange(1, 400_000))


def make_bucket(wire: Wire) -> None:
    status, _, _ = wire("POST", "/storage/v1/b?project=p", b'{"name": "%s"}' % BUCKET.encode())
    assert status == 200


def check(wire: Wire, server, acknowledged: list[str]) -> None:
    listed, token = {}, ""
    while token is not None:
        page = json.loads(wire("GET", f"/storage/v1/b/{BUCKET}/o?pageToken={token}")[2])
        listed |= {item["name"]: item["md5Hash"] for item in page.get("items", ())}
        token = page.get("nextPageToken")
    assert set(acknowledged) <= set(listed)
    last_round = max(name.partition("/")[0] for name in listed) if listed else ""
    for name, md5 in listed.items():
        data = data_of(name)
        assert md5 == base64.b64encode(hashlib.md5(data).digest()).decode()
        if name.startswith(last_round):
            assert wire.media(BUCKET, name)[2] == data
    # The sweep at start takes what the kill has left.
    until(lambda: count_files(server) == len(listed), f"of {len(listed)} objects so many files are left")


def count_files(server) -> int:
    return sum(len(names) for _, _, names in os.walk(server.home / "objects"))


@pytest.mark.parametrize(
    ("own_server", "rounds"),
    [
        ("sqlite", 2),
        ("postgresql", 1),
        pytest.param("sqlite", 40, marks=pytest.mark.slow),
        pytest.param("postgresql", 40, marks=pytest.mark.slow),
    ],
    indirect=["own_server"],
)
def test_uploads_and_kills(own_server, rounds):
    wire = Wire(own_server.port)
    make_bucket(wire)
    acknowledged: list[str] = []
    chance = random.Random(rounds)
    for round_ in range(rounds):
        stop = threading.Event()

        def upload(worker: int, round_: int = round_, stop: threading.Event = stop) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                name = f"{round_:02}/{worker}/{number}"
                try:
                    status, _ = wire.upload(BUCKET, name, data_of(name))
                except Exception:  # the server is gone
                    return
                if status == 200:
                    acknowledged.append(name)

        workers = [threading.Thread(target=upload, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        wanted = len(acknowledged) + chance.randrange(1, 40)
        until(lambda wanted=wanted: len(acknowledged) >= wanted, f"{wanted} uploads are acknowledged")
        own_server.kill()
        stop.set()
        for worker in workers:
            worker.join()
        own_server.start()
        check(wire, own_server, acknowledged)
    assert acknowledged


def test_a_resumable_upload_goes_on_after_a_kill(own_server):
    wire = Wire(own_server.port)
    make_bucket(wire)
    name = "resumed"
    data = data_of(name) * 20
    session = wire.start(BUCKET, name)
    first = len(data) // 3
    status, headers, _ = wire(
        "PUT", session, data[:first], {"content-range": f"bytes 0-{first - 1}/{len(data)}"}
    )
    assert (status, headers["range"]) == (308, f"bytes=0-{first - 1}")
    with broken_put(own_server.port, session, data, len(data), 2 * first):
        time.sleep(0.1)  # a pace: some more of it may be there
        own_server.kill()
    own_server.start()
    status, headers, _ = wire("PUT", session, b"", {"content-range": f"bytes */{len(data)}"})
    have = int(headers["range"].removeprefix("bytes=0-")) + 1
    assert status == 308 and have >= first
    status, _, _ = wire(
        "PUT", session, data[have:], {"content-range": f"bytes {have}-{len(data) - 1}/{len(data)}"}
    )
    assert status == 200 and wire.media(BUCKET, name)[2] == data
