"""An episode survives SIGKILL in every state: the next start goes on from where it was, and the endpoint serves."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from typing import Any

import orjson
import pytest
from google.api_core.exceptions import ServiceUnavailable
from tests.services.portico.conftest import World, turned
from tests.waiting import until

pytestmark = pytest.mark.slow


CHANCE = random.Random(0)
IN_ORDER = ("BREACHED", "RETRAINING", "GATING", "AWAITING_APPROVAL", "SHADOW", "CANARY", "PROMOTED")
BRIEF = ("BREACHED", "GATING")  # over in milliseconds: they may not be met


def state_on_disk(world: World) -> str:
    """The open episode's state as the database has it, without asking the server."""
    with contextlib.closing(
        sqlite3.connect(f"file:{world.portico.home / 'portico.db'}?mode=ro", uri=True)
    ) as db:
        rows = db.execute(
            "select body from resources where kind = 'portico:stewards.episodes' order by create_time desc"
        ).fetchall()
    return orjson.loads(rows[0][0])["state"] if rows else ""


def killed_in(world: World, wanted: str) -> bool:
    """Lets days go by until the episode is in the state, and kills every process; False where it is seen too late."""
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                world.days(1, requests_a_day=4)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        after = IN_ORDER[IN_ORDER.index(wanted) + 1 :]
        met = until(lambda: (now := state_on_disk(world)) in (wanted, *after) and now, wanted)
        assert met == wanted or wanted in BRIEF, f"never {wanted}: {met}"
        if met == wanted:
            time.sleep(CHANCE.choice([0, 0, 0.05, 0.3]))  # at any moment of it
        return met == wanted
    finally:
        stop.set()
        world.portico.kill()
        thread.join()
        world.portico.start()
        until(lambda: answers(world), "it serves as before")


def answers(world: World) -> bool:
    """False while the process of an own image's model, which may have a part of the traffic, is being started."""
    try:
        return bool(world.endpoint.predict([world.row()[0]]).predictions)
    except ServiceUnavailable:
        return False


def test_killed_in_every_state(trained: World) -> None:
    world = trained
    world.deploy()
    world.keep(gates={"labels": 60, "approval": True}, rollout={"shadowLabels": 40, "canary": [
        {"percent": 30, "labels": 20}, {"percent": 60, "labels": 20}]})  # fmt: skip
    world.days(4)
    world.truth = turned
    died = {}
    for state in IN_ORDER[:-1]:
        if state == "SHADOW":
            world.api("POST", f"{world.episodes()[0]['name']}:approve", json={"comment": "as it should"})
        died[state] = killed_in(world, state)
    episode = world.days_until({"PROMOTED"})
    assert all(met for state, met in died.items() if state not in BRIEF), died
    (after,) = world.endpoint.list_models()
    assert after.id == episode["challenger"]["deployedModelId"]
    assert world.endpoint.traffic_split == {after.id: 100}
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]
    assert episode["approvals"][0]["comment"] == "as it should"
    known: list[Any] = [t["state"] for t in episode["transitions"]]
    assert known.count("PROMOTED") == 1 and known.count("AWAITING_APPROVAL") == 1
