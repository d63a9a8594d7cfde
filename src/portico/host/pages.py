"""Portico's own pages for machines: health and metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from portico import __version__
from portico.doors.contract.rpcs import rules
from portico.doors.http.app import Door, Page
from portico.prediction.front.metrics import collect
from portico.prediction.prediction_log import lost
from portico.services.iam.tokens import certificates
from portico.store import disk
from portico.store.service import BUCKETS, PER_OCTAVE
from portico.store.tables.jobs import jobs
from portico.store.tables.resources import resources

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


def pages(home: Path) -> dict[str, Page]:
    async def healthz(door: Door) -> tuple[bytes, bytes]:
        def check() -> None:
            with door.rooms.database.read() as connection:
                connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar()

        await asyncio.to_thread(check)
        now = disk.room(home)
        found: dict[str, Any] = {"status": "ok", "version": __version__, "diskFreeBytes": now.free}
        if now.full:  # it answers, predicts and deletes: so it is not unhealthy
            found |= {"status": "diskFull", "message": disk.words(home)}
        return b"application/json", orjson.dumps(found)

    async def metrics(door: Door) -> tuple[bytes, bytes]:
        lines = await asyncio.to_thread(_lines, door, home)
        return _TEXT, ("\n".join(lines) + "\n").encode()

    async def certs(door: Door) -> tuple[bytes, bytes]:
        return b"application/json", orjson.dumps(certificates(home))

    async def rpcs(door: Door) -> tuple[bytes, bytes]:
        return b"application/json", orjson.dumps(rules(door.contract))

    return {"/-/healthz": healthz, "/-/metrics": metrics, "/-/certs": certs, "/-/rpcs": rpcs}


def _lines(door: Door, home: Path) -> list[str]:
    with door.rooms.database.read() as connection:
        by_state = connection.execute(
            sa.select(jobs.c.kind, jobs.c.state, sa.func.count()).group_by(jobs.c.kind, jobs.c.state)
        ).all()
        by_kind = connection.execute(
            sa.select(resources.c.kind, sa.func.count()).group_by(resources.c.kind)
        ).all()
        not_logged = lost(connection)
    lines = _family("portico_jobs", "gauge", "Durable jobs by kind and state.")
    lines += [f'portico_jobs{{kind="{kind}",state="{state}"}} {count}' for kind, state, count in by_state]
    lines += _family("portico_resources", "gauge", "Resources by collection.")
    lines += [f'portico_resources{{collection="{kind}"}} {count}' for kind, count in by_kind]
    lines += _family(
        "portico_predictions_lost_total",
        "counter",
        "Predictions that were answered and not logged, because a front was killed.",
    )
    lines.append(f"portico_predictions_lost_total {not_logged}")
    now = disk.room(home)
    for name, value, words in (
        ("free_bytes", now.free, "Room on the disk that holds the home."),
        ("reserve_bytes", now.reserve, "What is kept so that deleting works on a full disk."),
        ("full", int(now.full), "Whether what grows is refused, because the disk is full."),
    ):
        lines += [*_family(f"portico_disk_{name}", "gauge", words), f"portico_disk_{name} {value}"]
    return lines + _fronts(collect(home))


def _fronts(fronts: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for key, name, kind, words in (
        ("connections", "connections", "gauge", "Open connections of a front."),
        (
            "busySeconds",
            "busy_seconds_total",
            "counter",
            "Time that a front's loop ran or waited for a core.",
        ),
        ("tap_taken", "tap_requests_total", "counter", "Sampled requests that a front's tap took."),
        ("tap_dropped", "tap_dropped_total", "counter", "Sampled requests that a full tap dropped."),
    ):
        lines += _family(f"portico_front_{name}", kind, words)
        lines += [f'portico_front_{name}{{front="{f["front"]}"}} {f[key]}' for f in fronts]
    models = [({**model, "front": front["front"]}) for front in fronts for model in front["models"]]
    lines += _family("portico_prediction_requests_total", "counter", "Prediction requests by HTTP code.")
    for model in models:
        for code, count in {"200": model["requests"], **model["codes"]}.items():
            if count or model["deployedModel"]:
                lines.append(f'portico_prediction_requests_total{{{_labels(model)},code="{code}"}} {count}')
    models = [model for model in models if model["deployedModel"]]
    for key, name, kind, words in (
        ("rows", "rows_total", "counter", "Instances that were predicted."),
        ("inFlight", "in_flight", "gauge", "Requests that replicas, or a front's threads, have or wait for."),
        ("slots", "slots", "gauge", "Replicas, or a front's threads: what takes one request at a time."),
        ("slotSeconds", "slot_seconds_total", "counter", "Time in use of these, added up."),
    ):
        lines += _family(f"portico_prediction_{name}", kind, words)
        lines += [f"portico_prediction_{name}{{{_labels(model)}}} {model[key]}" for model in models]
    lines += _family("portico_prediction_seconds", "histogram", "Time to answer a prediction request.")
    for model in models:
        lines += _histogram("portico_prediction_seconds", model)
    return lines


def _histogram(name: str, model: dict[str, Any]) -> list[str]:
    """A bucket an octave, from those of `ModelMetrics`; Prometheus wants sums, and seconds."""
    labels, buckets, lines = _labels(model), model["buckets"], []
    for end in range(PER_OCTAVE, BUCKETS, PER_OCTAVE):
        le = 2 ** (end // PER_OCTAVE) / 1e6
        lines.append(f'{name}_bucket{{{labels},le="{le:g}"}} {sum(buckets[:end])}')
    return [
        *lines,
        f'{name}_bucket{{{labels},le="+Inf"}} {sum(buckets)}',
        f"{name}_sum{{{labels}}} {model['seconds']}",
        f"{name}_count{{{labels}}} {sum(buckets)}",
    ]


def _labels(model: dict[str, Any]) -> str:
    labels = {
        "front": model["front"],
        "endpoint": model["endpoint"],
        "deployed_model": model["deployedModel"],
    }
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _family(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
