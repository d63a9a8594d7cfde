"""A window of many rows counted and scored: Portico beside plain NumPy, NannyML and Evidently, on the same rows."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.common import Report, environment, interleaved, packages_of, ratio
from bench.monitoring_plain import jensen_shannon_of
from portico.ml.watch.bins import FeatureBins, count, fit_bins
from portico.ml.watch.distances import score

FEATURES, FITTED = 20, 100_000  # columns; reference rows that the bins are fitted to
LIMIT, SKETCH = 1.5, 64.0  # times NumPy's time; KiB
PEERS = {"nannyml": ["nannyml", "statsmodels", "setuptools<81"], "evidently": ["evidently<0.8", "pandas<3"]}
HERE = Path(__file__).parent


def window(
    report: Report, folder: Path, rows: int, rounds: int, peers: list[str], peer_rows: int
) -> dict[str, Any]:
    """Adds the lines about a window of `rows`; the peers get `peer_rows` and are shown by the million rows."""
    pa.set_cpu_count(1)  # NumPy counts with one thread
    before, now = table(rows, 0, 0.0), table(rows, 1, 0.1)
    bins = fit_bins(before.slice(0, FITTED))
    reference = count(before, bins)
    held = {feature.name: outer(feature.edges) for feature in bins}
    columns = {name: now[name].to_numpy() for name in now.column_names}
    known = {name: np.histogram(before[name].to_numpy(), held[name])[0] for name in held}

    def portico() -> dict[str, float]:
        return {found.name: found.distance for found in score(count(now, bins), reference, bins)}

    def plain() -> dict[str, float]:
        return jensen_shannon_of(columns, held, known)

    measures = {"portico": portico, "plain": plain}
    if not np.allclose(list(portico().values()), list(plain().values()), atol=1e-6):
        raise SystemExit("the two sides do not find the same distances")

    def measure(side: str) -> dict[str, float]:
        began = time.perf_counter()
        measures[side]()
        return {"seconds": time.perf_counter() - began}

    values = interleaved(list(measures), measure, rounds)
    middle = {side: median(values[side]["seconds"]) for side in values}
    report.limit(
        f"a window of {rows:,} rows x {FEATURES} features counted and scored, to plain NumPy's Jensen-Shannon "
        f"({middle['portico']:.3f} to {middle['plain']:.3f} s)",
        ratio(values, "seconds", "portico", "plain"),
        LIMIT,
        at_least=False,
    )
    results: dict[str, Any] = {"window": values, "sketches": sketches(report, now, bins)}
    paths = [folder / "reference.parquet", folder / "current.parquet"]
    for path, data in zip(paths, (before, now), strict=True):
        pq.write_table(data.slice(0, peer_rows), path)
    for peer in peers:
        try:
            python = environment(f"monitoring-{peer}", PEERS[peer])
            version = packages_of(python, [peer])
            found = peer_seconds(python, peer, paths)
        except subprocess.CalledProcessError as error:
            report.facts[f"{peer} is left out"] = (error.stderr or "it does not install here")[-300:]
            continue
        report.facts.setdefault("peers", {}).update(version)
        results[peer] = found
        a_million = found["seconds"] / peer_rows * 1e6
        report.beside(
            f"{peer}, Jensen-Shannon of {peer_rows:,} rows x {FEATURES} features ({found['seconds']:.2f} s), "
            "by the million rows to Portico's",
            a_million / (middle["portico"] / rows * 1e6),
        )
    return results


def sketches(report: Report, now: pa.Table, bins: list[FeatureBins]) -> dict[str, float]:
    """Adds the lines about the sketches of the same window, and of one of words of which hardly two are alike."""
    from portico.ml.watch.sketches import sketch

    began = time.perf_counter()
    made = sketch(now, bins)
    seconds = time.perf_counter() - began
    words = pa.table({"word": [f"a category with a long name, number {n:,}" for n in range(100_000)]})
    worst = sketch(words, [FeatureBins("word", "categorical")])
    largest = max(len(one.serialize()) for one in (*made.values(), *worst.values())) / 1024
    report.beside(f"the sketches of the same window ({len(bins)} features)", seconds, " s")
    report.limit("the largest sketch of a feature and window", largest, SKETCH, at_least=False, unit=" KiB")
    return {"seconds": seconds, "largest": largest}


def outer(edges: tuple[float, ...]) -> np.ndarray:
    """The same bins for NumPy: one on either side for what lies outside, and the last with its upper edge."""
    return np.array([-np.inf, *edges[:-1], np.nextafter(edges[-1], np.inf), np.inf])


def table(rows: int, seed: int, shift: float) -> pa.Table:
    """Normal, log-normal and uniform features, shifted a little more from one to the next."""
    random = np.random.default_rng(seed)
    made = {}
    for number in range(FEATURES):
        drawn = (random.normal, random.lognormal, random.uniform)[number % 3](size=rows)
        made[f"x{number}"] = drawn + shift * number / FEATURES
    return pa.table(made)


def peer_seconds(python: Path, peer: str, paths: list[Path]) -> dict[str, float]:
    command = [str(python), "-W", "ignore", str(HERE / "monitoring_peers.py"), peer, *map(str, paths)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    environ.pop("PYTHONPATH", None)
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer
