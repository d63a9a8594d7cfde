"""What fronts count becomes rows: percentiles, sums over fronts and time, each file exactly once, old rows thinned."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from portico.prediction import service_log as module
from portico.prediction.front.metrics import ModelMetrics, Slots
from portico.prediction.service_log import Counted, ServiceLog, ServiceRows
from portico.store import service
from portico.store.database import Database
from portico.store.service import PER_OCTAVE, Counts, listed, merged
from portico.store.tables.log import service_counts

pytestmark = pytest.mark.usefixtures("either_store")

ENDPOINT = "projects/p/locations/l/endpoints/1"
WIDTH = 2 ** (1 / PER_OCTAVE)  # of a bucket


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def database(home: Path) -> Any:
    made = Database(home)
    made.create_tables()
    yield made
    made.close()


def front(home: Path, index: int = 0, slots: Slots | None = None) -> tuple[ServiceLog, ModelMetrics]:
    """A front's log that follows one deployed model."""
    log, metrics = ServiceLog(home / "spool" / f"service-{index}", index, Slots(4)), ModelMetrics()
    log.follow([Counted(ENDPOINT, "7", metrics, slots)])
    return log, metrics


def counts(database: Database, start: float | None = None, end: float | None = None) -> Counts:
    with database.read() as connection:
        return listed(connection, ENDPOINT, start=start, end=end).get((ENDPOINT, "7"), Counts())


@pytest.mark.parametrize("seed", range(20))
def test_percentiles_are_right_to_the_width_of_a_bucket(seed: int) -> None:
    dice = np.random.default_rng(seed)
    seconds = np.exp(dice.normal(dice.uniform(-9, -1), dice.uniform(0.1, 1.5), 2000)).clip(2e-6, 60)
    pieces = [ModelMetrics() for _ in range(3)]  # fronts, or seconds
    for latency in seconds:
        pieces[dice.integers(3)].count(1, float(latency))
    whole = merged(
        Counts(buckets={bucket: count for bucket, count in enumerate(piece.buckets) if count})
        for piece in pieces
    )
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        exact = float(np.quantile(seconds, share, method="inverted_cdf"))
        found = whole.quantile(share)
        assert found is not None and exact / WIDTH <= found <= exact * WIDTH * (1 + 1e-9)


def test_extreme_latencies_have_a_bucket() -> None:
    metrics = ModelMetrics()
    for seconds in (0.0, 1e-9, 65.0, 1e6):
        metrics.count(1, seconds)
    assert metrics.buckets[0] == 2 and metrics.buckets[-1] + metrics.buckets[-2] == 2
    assert Counts().quantile(0.5) is None


def test_what_the_caller_did_wrong_is_not_our_fault() -> None:
    counted = Counts(requests=20, errors={400: 5, 429: 1, 499: 1, 500: 2, 501: 1, 503: 3, 504: 1})
    assert counted.failed == 6


def test_a_request_that_was_given_up_has_a_latency_and_one_that_was_refused_has_none() -> None:
    metrics = ModelMetrics()
    for code in (400, 401, 499, 500, 503, 504):
        metrics.fail(code, 30.0)
    assert sum(metrics.buckets) == 2 and metrics.requests == 0 and sum(metrics.errors.values()) == 6


def test_fronts_and_seconds_add_up(home: Path, database: Database) -> None:
    rows = ServiceRows(home, database)
    logs = [front(home, index) for index in range(3)]
    dice = random.Random(1)
    answered = failed = 0
    for at in (1000.0, 1010.0, 1100.0, 5000.0):
        for log, metrics in logs:
            for _ in range(dice.randrange(1, 9)):
                metrics.count(2, dice.expovariate(100))
                answered += 1
            if dice.random() < 0.5:
                metrics.fail(503, 0.0)
                failed += 1
            log.flush(at)
        if dice.random() < 0.5:
            rows.ingest()
    for log, _ in logs:
        log.close(5000.0)
    rows.ingest()
    found = counts(database)
    assert (found.requests, found.rows, found.errors) == (answered + failed, 2 * answered, {503: failed})
    assert sum(found.buckets.values()) == answered and found.busy.keys() == {0, 1, 2}
    parts = [counts(database, start, start + 60) for start in (960, 1080, 4980)]
    assert sum(part.requests for part in parts) == found.requests and all(part.requests for part in parts)
    assert counts(database, 1020, 1080).requests == 0
    assert not list((home / "spool").glob("service-*/*"))


def test_a_file_is_counted_once_wherever_it_was_killed(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, metrics = front(home)
    metrics.count(1, 0.01)
    log.close(1000.0)
    (file,) = (home / "spool" / "service-0").iterdir()

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # in the transaction: everything is read again
        patch.setattr(service, "thin", killed)
        with pytest.raises(KeyboardInterrupt):
            ServiceRows(home, database).ingest()
    assert counts(database).requests == 0
    with monkeypatch.context() as patch:  # after the commit, before the file is gone
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            ServiceRows(home, database).ingest()
    assert counts(database).requests == 1 and file.exists()
    rows = ServiceRows(home, database)
    rows.ingest()
    assert counts(database).requests == 1 and not file.exists()
    monkeypatch.setattr(module, "_NOTES", 3)
    for _ in range(9):
        log, metrics = front(home)
        metrics.count(1, 0.01)
        log.close(1000.0)
        rows.ingest()
    with database.read() as connection:
        notes = connection.execute(sa.select(sa.func.count()).select_from(module._read)).scalar()
    assert counts(database).requests == 10 and notes is not None and notes <= 3


def test_while_nobody_reads_counts_stay_in_memory(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FILES", 3)
    log, metrics = front(home)
    for second in range(20):
        metrics.count(1, 0.01)
        log.flush(1000.0 + second)
        log._thread.submit(int).result()
    assert len(list((home / "spool" / "service-0").iterdir())) <= 4
    rows = ServiceRows(home, database)
    rows.ingest()
    assert 0 < counts(database).requests < 20
    log.flush(1020.0)
    log._thread.submit(int).result()
    log.flush(1021.0)
    log.close(1021.0)
    rows.ingest()
    assert counts(database).requests == 20


def test_what_cannot_be_read_stops_nothing(home: Path, database: Database) -> None:
    log, metrics = front(home)
    metrics.count(1, 0.01)
    log.close(1000.0)
    (home / "spool" / "service-0" / "1.counts").write_bytes(b"\x93cut")
    ServiceRows(home, database).ingest()
    assert counts(database).requests == 1 and not list((home / "spool").glob("service-*/*"))


def test_a_model_that_is_served_no_more_is_counted_to_its_end(home: Path, database: Database) -> None:
    log, metrics = front(home)
    metrics.count(1, 0.01)
    log.follow([])
    metrics.count(1, 0.01)  # was in flight
    log.close(1000.0)
    ServiceRows(home, database).ingest()
    assert counts(database).requests == 2


def test_replicas_in_use_are_a_share_of_all_of_them(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    slots = [Slots(2), Slots(2)]
    logs = [front(home, index, own) for index, own in enumerate(slots)]
    for own, many in zip(slots, (1, 5), strict=True):
        for _ in range(many):
            own.enter()
    now += 2
    for own, many in zip(slots, (1, 5), strict=True):
        for _ in range(many):
            own.leave()
    now += 2
    for (log, metrics), own in zip(logs, slots, strict=True):
        metrics.count(1, 0.2)
        assert own.in_flight == 0
        log.close(1000.0)
    ServiceRows(home, database).ingest()
    found = counts(database)
    # The first front had one of the two in use and the second both: more than there is, for a half of the time.
    assert found.saturation == pytest.approx(3 / 2 * 2 / 4)
    assert found.queue == 3 and found.shared


def test_quiet_time_is_left_out_and_a_short_rest_is_idle(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    busy = 5.0
    monkeypatch.setattr(module, "busy_seconds", lambda: busy)
    log, metrics = front(home)
    for second in range(1, 3601):  # an hour without a request
        now = 100.0 + second
        log.note(1000.0)
    now, busy = now + 10, busy + 4
    metrics.count(1, 0.01)
    log.close(1000.0)
    ServiceRows(home, database).ingest()
    (used, whole), saturation = counts(database).busy[0], counts(database).saturation
    assert used == pytest.approx(4) and 10 <= whole <= 71
    assert saturation == pytest.approx(4 / whole)


def test_old_rows_are_thinned_and_nothing_is_lost(database: Database) -> None:
    day, minute = 86400, 60
    now = 70 * day
    dice = random.Random(3)
    with database.write() as connection:
        for at in range(0, now, 1800):
            busy = {0: (dice.random() * 60, 60.0)}
            service.add(
                connection, ENDPOINT, "7", at, Counts(requests=2, buckets={dice.randrange(99): 2}, busy=busy)
            )

    def state() -> tuple[int, dict[int, int]]:
        with database.read() as connection:
            spans = connection.execute(
                sa.select(service_counts.c.span, sa.func.count()).group_by(service_counts.c.span)
            ).all()
        return sum(count for _, count in spans), dict(tuple(row) for row in spans)

    before = counts(database)
    for _ in range(2):  # the second time changes nothing
        with database.write() as connection:
            service.thin(connection, now)
        after = counts(database)
        assert after.requests == before.requests == 2 * now // 1800
        assert after.buckets == before.buckets
        assert (after.peak, after.saturation) == pytest.approx((before.peak, before.saturation))
        assert state() == (10 + 58 * 24 + 2 * 48, {minute: 2 * 48, 3600: 58 * 24, day: 10})
    assert counts(database, 3 * day, 5 * day).requests == 2 * 96
    assert counts(database, now - day).requests == 2 * 48
    with database.write() as connection:
        service.add(connection, ENDPOINT, "7", 5 * day, Counts(requests=1))  # came late
        service.thin(connection, now)
    assert counts(database, 5 * day, 6 * day).requests == 97 and state()[0] == 10 + 58 * 24 + 2 * 48
    with database.write() as connection:
        service.thin(connection, now + 11 * 366 * day)
    assert state()[0] == 0
