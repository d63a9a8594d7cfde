"""A year of hourly traffic on the domain clock: a request an hour, its truth a day later, a model that is watched.

The clock advances day by day, and is answered each time when all that is due has been done: the log written, the day's
window counted and scored by the monitoring job, labels joined and the steward's bounds measured. What is acceptable is
wide, so that nothing is retrained: the machinery is what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.common import Report
from bench.monitoring_world import DAY, Server, World

PROCESSES = ("watcher", "scheduler", "control", "front")
COLUMNS = {"ts": "timestamp", "tmin": "numeric", "tmax": "numeric", "pn": "numeric"}
LIMIT = 20.0  # seconds
# The year that is lived, who asks, and how many hours a request holds. The limit is for the first: hourly traffic.
RUNS = (
    ("2012", "official", 1, "a request an hour by the official client"),
    ("2013", "plain", 1, "a request an hour by plain HTTP"),
    ("2014", "official", 6, "a request for six hours by the official client"),
)

Day = tuple[str, list[dict[str, Any]], list[float]]  # its date, instances and truths


def years(report: Report, server: Server) -> dict[str, Any]:
    """Adds the lines about a simulated year."""
    world = World(server, "bikes", "count", "regression", COLUMNS)
    rows = world.rows
    world.train(rows[rows["ts"].str[:4] == "2011"], "ts")
    endpoint = world.deploy("bikes", logged=True)
    name = endpoint.resource_name

    def plain(instances: list[Any]) -> None:
        server.client.call("POST", f"/v1/{name}:predict", {"instances": instances})

    clients: dict[str, Callable[[list[Any]], Any]] = {"official": endpoint.predict, "plain": plain}
    server.client.advance(to="2011-12-01T00:00:00Z")
    world.watch(endpoint, DAY)
    world.keep(endpoint, [{"metric": "weightedAbsolutePercentageError", "limit": 1000, "labels": 504}])
    # The last days of 2011 load what is loaded once: the job's bins, the scheduler's libraries.
    live(server, name, plain, days(world, "2011-12"), 24)
    results = {}
    for year, client, hours, words in RUNS:
        before = {process: server.processor(process) for process in PROCESSES}
        found = live(server, name, clients[client], days(world, year), hours)
        used = {process: server.processor(process) - before[process] for process in before}
        results[year] = found | {f"{process}'s processor": cpu for process, cpu in used.items()}
        print(f"{year}, {words}: " + ", ".join(f"{k} {v:,.1f}" for k, v in results[year].items()), flush=True)
        shown = (
            f"a simulated year, {words} ({found['requests']:.0f} requests {found['predict']:.1f} s, "
            f"advances {found['advance']:.1f} s, labels {found['labels']:.1f} s)"
        )
        if hours == 1 and client == "official":
            report.limit(shown, found["seconds"], LIMIT, at_least=False, unit=" s")
        else:
            report.beside(shown, found["seconds"], " s")
    return results


def days(world: World, beginning: str) -> list[Day]:
    """The days of the rows whose time begins so."""
    rows = world.rows[world.rows["ts"].str.startswith(beginning)]
    return [
        (str(day), world.instances(part), part[world.target].tolist())
        for day, part in rows.groupby(rows["ts"].str[:10])
    ]


def live(
    server: Server, endpoint: str, predict: Callable[[list[Any]], Any], days: list[Day], hours: int
) -> dict[str, float]:
    """Lives through the days; returns the seconds in all and by what they went to, and the number of requests."""
    taken = {"seconds": 0.0, "predict": 0.0, "advance": 0.0, "labels": 0.0, "requests": 0.0}
    late: list[dict[str, Any]] = []
    clock = time.perf_counter
    began = clock()
    for day, instances, truths in days:
        at = clock()
        server.client.advance(to=f"{day}T00:00:00Z")
        taken["advance"] += clock() - at
        at = clock()
        if late:
            server.client.add_labels(endpoint, late)
        taken["labels"] += clock() - at
        at = clock()
        for start in range(0, len(instances), hours):
            predict(instances[start : start + hours])
            taken["requests"] += 1
        taken["predict"] += clock() - at
        late = [{"key": {"ts": i["ts"]}, "truth": t} for i, t in zip(instances, truths, strict=True)]
    taken["seconds"] = clock() - began
    return taken
