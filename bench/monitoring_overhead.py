"""What logging and monitoring cost a prediction: two endpoints of one model, one watched and one not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.common import Report, interleaved, ratio
from bench.monitoring_world import HOUR, Server, World
from bench.serving import Side, captured_request
from portico.prediction.metrics import collect

LIMIT = 0.05
SIDES = ("on", "off")
BESIDE = {"in the hour": "with an hour's work in the middle", "alone": "while the watcher stands still"}


def overhead(report: Report, world: World, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Adds the lines about p50, throughput and the front's processor time.

    The watcher has read everything before each measurement and is free to work during it, by its own rule: it gives way
    while predictions take all cores. After each an hour goes by on the domain clock: the job counts and scores a window
    of all that was asked, and the steward looks. Beside that stand the two extremes at 16 connections: the hour goes by
    in the middle of the measurement, so that the watcher must work whatever it costs; and the watcher stands still.

    Each round deploys both endpoints anew, the one or the other first: two that are the same differ in processor time,
    by where their models happen to lie in memory.
    """
    server = world.server
    pairs = Pairs(world, folder)
    watcher = 0.0  # seconds of its processor time

    def loaded(side: str, connections: int) -> dict[str, float]:
        before, cpu = requests(server), server.processor("front")
        load = pairs.sides[side].load(connections, seconds, "awake")
        cpu, count = server.processor("front") - cpu, requests(server) - before
        return {"cpu": cpu / count * 1e6, "rate": load["requests"] / load["seconds"], "p50": load["p50"]}

    def measure(side: str) -> dict[str, float]:
        nonlocal watcher
        found = {}
        pairs.turn(side)
        watcher -= server.processor("watcher")
        for connections in (1, 16):
            server.settle()
            found |= {f"{name} at {connections}": value for name, value in loaded(side, connections).items()}
            server.client.advance(seconds=HOUR)
        with Hour(server, seconds / 2):
            found |= {f"{name} in the hour": value for name, value in loaded(side, 16).items()}
        server.settle()
        watcher += server.processor("watcher")
        with stopped(server):
            found |= {f"{name} alone": value for name, value in loaded(side, 16).items()}
        made = {
            "p50": found["p50 at 1"],
            "throughput": found["rate at 16"],
            "cpu": found["cpu at 16"],
            "cpu at 1": found["cpu at 1"],
        } | {f"{name} {when}": found[f"{name} {when}"] for when in BESIDE for name in ("rate", "cpu")}
        print(f"{side:>4}: " + ", ".join(f"{key} {value:,.1f}" for key, value in made.items()), flush=True)
        return made

    values = interleaved(SIDES, measure, rounds)
    counted = collect(server.home)
    report.facts["tap"] = "in C" if all(front["tap_native"] for front in counted) else "in Python"
    if any(front["tap_dropped"] for front in counted):
        report.facts["not valid"] = "the tap dropped records, so the front did less than it should"
    middle = {name: {side: median(values[side][name]) for side in SIDES} for name in values["on"]}
    for name, words, unit in (
        ("p50", "p50 at 1 connection", "µs"),
        ("throughput", "throughput at 16", "a second"),
        ("cpu", "the front's processor time a request at 16", "µs"),
        ("cpu at 1", "the front's processor time a request at 1", "µs"),
    ):
        shown = f"{words}, watched to not ({middle[name]['on']:.1f} to {middle[name]['off']:.1f} {unit})"
        value = ratio(values, name, "on", "off")
        if name == "throughput":
            report.limit(shown, value, 1 - LIMIT, at_least=True)
        else:
            report.limit(shown, value, 1 + LIMIT, at_least=False)
    for when, words in BESIDE.items():
        rate, cpu = ratio(values, f"rate {when}", "on", "off"), ratio(values, f"cpu {when}", "on", "off")
        report.beside(f"throughput at 16 {words}, watched to not", rate, "×")
        report.beside(f"the front's processor time a request at 16 {words}, watched to not", cpu, "×")
    taken = sum(front["tap_taken"] for front in counted)
    report.beside("the watcher's processor time a logged request", watcher / taken * 1e6, " µs")
    return values


class Pairs:
    """The endpoints of each round, one watched and one not; the watched one's job and steward."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self._instance = world.instances(world.rows.head(1))[0]
        self._number = 0
        self._measured: set[str] = set(SIDES)
        self._endpoints: dict[str, Any] = {}
        self._watching: list[str] = []
        self.sides: dict[str, Side] = {}

    def turn(self, side: str) -> None:
        """Makes those of the next round, where `side` was measured in this one."""
        if side in self._measured:
            self._remove()
            self._deploy()
            self._measured.clear()
        self._measured.add(side)

    def _deploy(self) -> None:
        world, server = self._world, self._world.server
        for name in SIDES if self._number % 4 < 2 else SIDES[::-1]:  # not as the measurements take turns
            endpoint = self._endpoints[name] = world.deploy(name, logged=name == "on")
            place = self._folder / f"{name}-{self._number}"
            place.mkdir()
            request = captured_request(server, self._instance, endpoint.resource_name)
            self.sides[name] = Side(server.port, request, place)
        watched = self._endpoints["on"]
        acceptable = [{"metric": "p99Latency", "limit": 10, "labels": 500}]
        self._watching = [world.watch(watched, HOUR), world.keep(watched, acceptable)]
        server.client.advance(seconds=HOUR)  # the job reads the training data
        self._number += 1

    def _remove(self) -> None:
        client = self._world.server.client
        for name in self._watching:
            client.call("DELETE", f"/v1/{name}" if "Jobs/" in name else name)
        for endpoint in self._endpoints.values():
            endpoint.delete(force=True)


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Stops the watcher's process for the time of the block."""
    (watcher,) = server.processes("watcher")
    watcher.suspend()
    try:
        yield
    finally:
        watcher.resume()


def requests(server: Server) -> int:
    """How many requests the fronts have answered."""
    return sum(front["requests"] for front in collect(server.home))


class Hour:
    """Lets an hour go by on the domain clock, `delay` seconds after the block begins."""

    def __init__(self, server: Server, delay: float) -> None:
        self._server, self._delay = server, delay
        self._thread = threading.Thread(target=self._advance)

    def _advance(self) -> None:
        time.sleep(self._delay)
        self._server.client.advance(seconds=HOUR)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
