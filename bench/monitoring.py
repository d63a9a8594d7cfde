"""What watching a model costs: a prediction, a window, a day's log, a simulated year.

    python -m bench.monitoring [--parts overhead,window,day,year] [--rounds 9] [--seconds 3] [--rows 1000000]
        [--peers nannyml,evidently] [--peer-rows 100000] [--day-rows 10000000]

Every part that needs a server has a `portico up` of its own, with a model that Portico trained on a sample, a
monitoring job for skew and drift, and a steward; the watcher runs beside at its usual priority. The day of 10 million
predictions takes long; with `--day-rows 1000000` it is measured on a tenth.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

from bench.common import Report, versions
from bench.monitoring_world import CENSUS, HOUR, Server, World

PARTS = ("overhead", "window", "day", "year")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.monitoring")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement of the overhead")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the window")
    parser.add_argument("--peers", default="nannyml,evidently", help="empty: plain NumPy alone")
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--day-rows", type=int, default=10_000_000)
    options = parser.parse_args()
    logging.disable(logging.INFO)  # the official client narrates
    parts = options.parts.split(",")
    report = Report("monitoring")
    report.header(versions=versions("portico", "google-cloud-aiplatform", "numpy", "pyarrow", "datasketches"))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "window" in parts:  # first: nothing else runs
            from bench.monitoring_window import window

            peers = [peer for peer in options.peers.split(",") if peer]
            results["window"] = window(report, folder, options.rows, options.rounds, peers, options.peer_rows)
        if "overhead" in parts:
            from bench.monitoring_overhead import overhead

            with Server(folder / "overhead") as server:
                world = census(server)
                results["overhead"] = overhead(report, world, folder, options.rounds, options.seconds)
        if "year" in parts:
            from bench.monitoring_year import years

            with Server(folder / "year") as server:
                results["year"] = years(report, server)
        if "day" in parts:
            from bench.monitoring_day import day

            with Server(folder / "day") as server:
                world = census(server)
                endpoint = world.deploy("watched", logged=True)
                world.watch(endpoint, HOUR)
                world.keep(endpoint, [{"metric": "logLoss", "limit": 10, "labels": 500}])
                results["day"] = day(report, world, endpoint, options.day_rows)
    report.end(results=results)


def census(server: Server) -> World:
    world = World(server, "census", "income", "classification", CENSUS)
    world.train(world.rows)
    return world


if __name__ == "__main__":
    main()
