"""A steward's job takes a turn when there is something to do, and reads the log as it grows and is merged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.portico.test_state_machine import ENDPOINT, STEWARD, House

from portico.services.portico.steward.due import StewardsDue
from portico.services.portico.steward.watched import Watched
from portico.services.standard import standing
from portico.store import jobs, resources, segments


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        made = House(Path(folder), patch)
        yield made
        made.rooms.database.close()


class Looks:
    """What the scheduler's process does: it wakes the steward's job where that has something to do."""

    def __init__(self, house: House) -> None:
        self._house, self._due = house, StewardsDue(house.rooms.clock)

    def wake(self) -> bool:
        """Whether the steward's job was woken."""
        clock, queue = self._house.rooms.clock, self._house.rooms.queue
        with self._house.rooms.database.write() as connection:
            states = standing.states(connection, StewardsDue.kind, clock.now())
            found = list(self._due.due(connection, self._house.now, states))
            standing.turn(connection, queue, StewardsDue.kind, found, self._house.now)
        return found == [STEWARD]

    def turn(self) -> jobs.Job:
        """Lets the job take its turn, as it is afterwards."""
        with self._house.rooms.database.write() as connection:
            (job,) = jobs.active(connection, StewardsDue.kind)
            jobs.lease(connection, job, "test", 0.0, 60.0)
        found = self._house.stewards.turn(STEWARD, job.id)
        assert found is not None
        with self._house.rooms.database.write() as connection:
            jobs.wait(connection, job, found.until)
        return job

    def until_quiet(self) -> jobs.Job:
        assert self.wake()
        job = self.turn()
        while self.wake():
            job = self.turn()
        return job


def test_a_steward_looks_when_it_is_time_and_goes_on_when_something_comes(house: House) -> None:
    looks = Looks(house)
    looks.until_quiet()
    assert not looks.wake()  # nothing is due, and it goes on waiting
    for event in ("good", "bad"):
        getattr(house, f"on_{event}")(0.0)
        looks.until_quiet()
    assert house.states()[-1] == "RETRAINING"
    assert not looks.wake()

    with house.rooms.database.read() as connection:  # the training is a child of the turn that began it
        (mine,) = jobs.active(connection, StewardsDue.kind)
        (training,) = jobs.children(connection, mine.id)
        assert mine.state == "WAITING" and mine.wake_at is None and training.state == "QUEUED"
    house.go(86400.0)
    assert not looks.wake()  # simulated time does not pass it by
    house.on_work(0.0)
    with house.rooms.database.read() as connection:
        assert jobs.get(connection, mine.id).state == "QUEUED"  # type: ignore[union-attr]
    looks.turn()
    while looks.wake():
        looks.turn()
    assert house.states()[-1] == "AWAITING_APPROVAL" and not looks.wake()
    house.on_approve(0.0)  # what it waits for comes
    looks.until_quiet()
    assert house.states()[-1] == "SHADOW"


def test_a_failed_look_is_told_and_rests(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, step = Looks(house), type(house.stewards)._step

    def broken(*_: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr(type(house.stewards), "_step", broken)
    assert looks.wake()
    job = looks.turn()
    rest = (job.wake_at or 0.0) - house.rooms.clock.now()
    assert 0.0 < rest <= 30.0 and not looks.wake()
    with house.rooms.database.read() as connection:
        steward = resources.get(connection, STEWARD)
    assert steward is not None and "no such thing" in steward.body["status"]["message"]
    with house.rooms.database.write() as connection:
        jobs.wake(connection, [job.id])
    job = looks.turn()
    assert (job.wake_at or 0.0) - house.rooms.clock.now() > rest  # longer each time
    monkeypatch.setattr(type(house.stewards), "_step", step)
    with house.rooms.database.write() as connection:
        jobs.wake(connection, [job.id])
    looks.turn()
    assert not looks.wake()
    with house.rooms.database.read() as connection:
        steward = resources.get(connection, STEWARD)
    assert steward is not None and "no such thing" not in steward.body["status"]["message"]


def test_each_row_is_seen_once_though_what_was_read_is_merged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_MANY", 4)
    watched = Watched(house.rooms, house.segments, ENDPOINT)
    for count in (3, 2, 4):
        for _ in range(count):
            house.predict(0.05)
        house.segments.merge(f"log/{ENDPOINT}")
        watched.refresh()
        found = [row.request_id for row in watched.joined.rows()]
        assert sorted(found) == list(range(1, house.number + 1))
