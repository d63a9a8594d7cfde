"""What logging and monitoring cost a prediction: one endpoint, watched and not."""

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
from portico.prediction.front.metrics import collect

LIMIT, LEAST = 0.05, 0.9
SIDES = ("on", "off")
BESIDE = {"in the hour": "with an hour's work in the middle", "alone": "while the watcher stands still"}


def overhead(report: Report, world: World, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Adds the lines about p50, throughput and the front's processor time.

    The watcher has read everything before each measurement and works during it. After each an hour goes by on the
    domain clock: the job counts and scores a window of all that was asked, and the steward looks. Beside that stand the
    two extremes at 16 connections: the hour goes by in the middle of the measurement, so that all that is due is done
    whatever it costs; and the watcher stands still.

    Both sides of a round ask the same deployed model, since two that are the same differ in processor time, by where
    they happen to lie in memory; each round deploys one anew.
    """
    server = world.server
    turns = Turns(world, folder)
    watcher = 0.0  # seconds of its processor time
    odd = False  # whether a measurement logged something else than it should

    def loaded(side: str, connections: int) -> dict[str, float]:
        nonlocal odd
        before, cpu, logged = requests(server), server.processor("front"), taken(server)
        load = turns.asked.load(connections, seconds, "awake")
        cpu, count = server.processor("front") - cpu, requests(server) - before
        odd |= taken(server) - logged != (count if side == "on" else 0)
        return {"cpu": cpu / count * 1e6, "rate": load["requests"] / load["seconds"], "p50": load["p50"]}

    def measure(side: str) -> dict[str, float]:
        nonlocal watcher
        found = {}
        turns.turn(side)
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
    if odd or any(front["tap_dropped"] for front in counted):
        report.facts["not valid"] = (
            "what was logged is not what was asked, so the front did less or more than it should"
        )
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
            report.limit(shown, value, LEAST, at_least=True)
        else:
            report.limit(shown, value, 1 + LIMIT, at_least=False)
    for when, words in BESIDE.items():
        rate, cpu = ratio(values, f"rate {when}", "on", "off"), ratio(values, f"cpu {when}", "on", "off")
        report.beside(f"throughput at 16 {words}, watched to not", rate, "×")
        report.beside(f"the front's processor time a request at 16 {words}, watched to not", cpu, "×")
    report.beside("the watcher's processor time a logged request", watcher / taken(server) * 1e6, " µs")
    return values


class Turns:
    """The endpoint of each round, as what is `asked`: watched (it logs, has a monitoring job and a steward) or not."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self._instance = world.instances(world.rows.head(1))[0]
        self._number = 0
        self._measured: set[str] = set(SIDES)
        self._endpoint: Any = None
        self._watching: list[str] = []
        self.asked: Side

    def turn(self, side: str) -> None:
        """Makes it what `side` says; where that was measured already, of the next round."""
        self._unwatch()
        if side in self._measured:
            self._deploy()
            self._measured.clear()
        self._measured.add(side)
        if side == "on":
            self._log(True)
            acceptable = [{"metric": "p99Latency", "limit": 10, "labels": 500}]
            world = self._world
            self._watching = [world.watch(self._endpoint, HOUR), world.keep(self._endpoint, acceptable)]
        self._world.server.client.advance(seconds=HOUR)  # the job reads the training data

    def _unwatch(self) -> None:
        for name in self._watching:
            self._world.server.client.call("DELETE", f"/v1/{name}" if "Jobs/" in name else name)
        if self._watching:
            self._log(False)
        self._watching = []

    def _log(self, enabled: bool) -> None:
        field = "predictRequestResponseLoggingConfig"
        path = f"/v1/{self._endpoint.resource_name}?updateMask={field}"
        self._world.server.client.call("PATCH", path, {field: {"enabled": enabled, "samplingRate": 1.0}})

    def _deploy(self) -> None:
        if self._endpoint is not None:
            self._endpoint.delete(force=True)
        self._endpoint = self._world.deploy("asked", logged=False)
        place = self._folder / str(self._number)
        place.mkdir()
        server = self._world.server
        request = captured_request(server, self._instance, self._endpoint.resource_name)
        self.asked = Side(server.port, request, place)
        self.asked.load(16, 1)  # what only the first requests pay
        self._number += 1


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


def taken(server: Server) -> int:
    """How many of them they have logged."""
    return sum(front["tap_taken"] for front in collect(server.home))


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
