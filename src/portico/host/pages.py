"""Portico's own pages for machines: health and metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from portico import __version__
from portico.doors.app import Door, Page
from portico.prediction.metrics import collect
from portico.store.jobs import jobs
from portico.store.resources import resources

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


def pages(home: Path) -> dict[str, Page]:
    async def healthz(door: Door) -> tuple[bytes, bytes]:
        def check() -> None:
            with door.rooms.database.read() as connection:
                connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar()

        await asyncio.to_thread(check)
        return b"application/json", orjson.dumps({"status": "ok", "version": __version__})

    async def metrics(door: Door) -> tuple[bytes, bytes]:
        lines = await asyncio.to_thread(_lines, door, home)
        return _TEXT, ("\n".join(lines) + "\n").encode()

    return {"/-/healthz": healthz, "/-/metrics": metrics}


def _lines(door: Door, home: Path) -> list[str]:
    with door.rooms.database.read() as connection:
        by_state = connection.execute(
            sa.select(jobs.c.kind, jobs.c.state, sa.func.count()).group_by(jobs.c.kind, jobs.c.state)
        ).all()
        by_kind = connection.execute(
            sa.select(resources.c.kind, sa.func.count()).group_by(resources.c.kind)
        ).all()
    lines = ["# HELP portico_jobs Jobs by kind and state.", "# TYPE portico_jobs gauge"]
    lines += [f'portico_jobs{{kind="{kind}",state="{state}"}} {count}' for kind, state, count in by_state]
    lines += ["# HELP portico_resources Resources by collection.", "# TYPE portico_resources gauge"]
    lines += [f'portico_resources{{collection="{kind}"}} {count}' for kind, count in by_kind]
    return lines + _fronts(collect(home))


def _fronts(fronts: list[dict[str, Any]]) -> list[str]:
    """The fronts' counters (each a flat mapping of numbers), with the front as a label."""
    lines: list[str] = []
    names = sorted(
        {name for front in fronts for name, value in front.items() if isinstance(value, int | float)}
    )
    for name in names:
        lines.append(f"# TYPE portico_front_{name} gauge")
        lines += [
            f'portico_front_{name}{{front="{number}"}} {front[name]}'
            for number, front in enumerate(fronts)
            if name in front
        ]
    return lines
