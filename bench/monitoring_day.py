"""A day of predictions through watcher and scheduler: what its log takes on disk, how fast it is read, and in how much
memory.

The records are written by the tap itself into the spool of a running server, as a front would: census instances (each
with a weight of its own, so that hardly two are alike) with answers that the served model gave. An hour's worth goes
in, then the domain clock passes that hour: the job counts and scores a window, and the steward joins the labels.
With far fewer rows than a million more of them lie in segments that are not merged yet, which take more by the row.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from bench.common import Report
from bench.monitoring_world import HOUR, World
from portico.prediction import tap
from portico.prediction.prediction_log import stream_of
from portico.prediction.spool import Spool, names_of
from portico.store import segments
from portico.store.database import Database

A_DAY, MOST = 10_000_000, 500.0  # predictions, MB
LABELS = 5_000  # of each hour
TICK = 0.25  # seconds, as a front
WAITING = 64 * 2**20  # bytes of spool that may wait for the watcher


def day(report: Report, world: World, endpoint: Any, rows: int) -> dict[str, Any]:
    """Adds the lines about a day of `rows` predictions; the disk's share is shown for 10 million."""
    server = world.server
    working = [*server.processes("watcher"), *server.processes("scheduler")]
    records = Records(world, endpoint)
    spool = Spool(server.home)
    writer = tap.Tap(server.home / "spool" / "front-9", 9)
    began, cpu, peaks = time.perf_counter(), used(working), []
    start = server.moment()
    for hour in range(24):
        labels = []
        for number in range(hour * rows // 24, (hour + 1) * rows // 24):
            name, truth = records.put(writer, start + (number + 1) / rows * 24 * HOUR)
            if len(labels) < LABELS:
                labels.append({"requestId": name.decode(), "truth": truth})
            if number % 10_000 == 0:
                writer.flush()
                while spool.waiting() > WAITING:
                    time.sleep(0.05)
        writer.flush()
        server.client.add_labels(endpoint.resource_name, labels)
        server.client.advance(seconds=HOUR)
        peaks.append(sum(map(peak, working)))
        print(f"hour {hour}: {time.perf_counter() - began:.0f} s, peak {peaks[-1]:.0f} MB", flush=True)
    seconds, cpu = time.perf_counter() - began, used(working) - cpu
    writer.close()
    bytes_, logged = stored(server.home, endpoint.resource_name)
    if logged < rows:
        dropped = writer.report["tap_dropped"]
        report.facts["the day is not valid"] = (
            f"{rows - logged:,} predictions are not logged, {dropped:,} were dropped"
        )
    report.limit(
        f"a day of {A_DAY:,} predictions on disk (measured on {rows:,})",
        bytes_ / logged * A_DAY / 1e6, MOST, at_least=False, unit=" MB",
    )  # fmt: skip
    report.beside(
        "watcher and scheduler read, count and join, rows a second of their processor time", rows / cpu, ""
    )
    report.beside("their peak memory after the first hour", peaks[0], " MB")
    report.beside("their peak memory after the day", peaks[-1], " MB")
    return {"rows": rows, "bytes": bytes_, "seconds": seconds, "processor": cpu, "peaks": peaks}


class Records:
    def __init__(self, world: World, endpoint: Any) -> None:
        self._random = np.random.default_rng(0)
        self._endpoint = endpoint.resource_name
        deployed = endpoint.list_models()[0]
        self._ticked = 0.0
        self._names = names_of(self._endpoint, deployed.id, deployed.model, deployed.model_version_id)
        self._instances = world.instances(world.rows.sample(10_000, random_state=0))
        self._truths = world.rows.sample(10_000, random_state=0)[world.target].tolist()
        client = world.server.client
        self._answers = []
        for start in range(0, len(self._instances), 1000):
            body = {"instances": self._instances[start : start + 1000]}
            found = client.call("POST", f"/v1/{self._endpoint}:predict", body)
            self._answers += [orjson.dumps([prediction]) for prediction in found["predictions"]]

    def put(self, writer: tap.Tap, at: float) -> tuple[bytes, Any]:
        """Taps a prediction made at `at`; returns its request id and its truth."""
        random = self._random
        place = int(random.integers(len(self._instances)))
        instance = {**self._instances[place], "fnlwgt": int(random.integers(12_285, 500_000))}
        jitter = random.random() / 100
        tap._time = lambda: at + jitter  # ids of that day, as irregular as requests come
        request = b'{"instances":[%b]}' % orjson.dumps(instance)
        seconds = 3e-5 * (1 + random.exponential())
        if at - self._ticked > TICK:
            writer.tick()
            self._ticked = at
        name = writer.put(at, self._names, request, self._answers[place], seconds)
        return name, self._truths[place]


def used(processes: list[psutil.Process]) -> float:
    """Seconds of processor time."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def peak(process: psutil.Process) -> float:
    """The most memory that a process has had, in MB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    raise RuntimeError("this system does not say")


def stored(home: Path, endpoint: str) -> tuple[int, int]:
    """Bytes and rows of an endpoint's log."""
    database = Database(home)
    with database.read() as connection:
        listed = segments.listed(connection, stream_of(endpoint))
    database.close()
    folder = home / "warehouse" / "segments"
    return sum((folder / s.file).stat().st_size for s in listed), sum(s.rows for s in listed)
