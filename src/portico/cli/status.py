"""`portico status`: what runs on a home, and what it holds."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portico.cli.up import OPEN

_SIZE_SECONDS = 1.0  # how long measuring the home's size may take


def collect(home: Path) -> dict[str, Any]:
    """What `portico status --json` prints. Sizes and memory are bytes; memory is PSS, which can be added up."""
    from portico.host.address import running
    from portico.jobs.isolation import isolation

    address = running(home)
    in_force = isolation(address is not None and address.unconfined)
    size, whole = _size(home)
    refused = "" if address else _refusal(home)
    return {
        "running": address is not None,
        "url": address.url if address else None,
        "pid": address.pid if address else None,
        "open": address.open if address else None,
        "processes": _processes(address.pid) if address else [],
        "isolation": {"name": in_force.name, "detail": in_force.detail},
        **(_held(home) if not refused else _NOTHING),
        "refused": refused,
        "home": str(home),
        "home_bytes": size,
        "home_bytes_complete": whole,
        "disk": _disk(home),
    }


def as_text(found: dict[str, Any]) -> str:
    if found["running"]:
        memory = sum(process["pss_bytes"] for process in found["processes"])
        count = len(found["processes"])
        lines = [f"Running at {found['url']}: {count} processes, {_megabytes(memory)}"]
        lines += [
            f"  {p['pid']:>8}  {_megabytes(p['pss_bytes']):>10}  {p['name']}" for p in found["processes"]
        ]
        if found["open"]:
            lines.append(OPEN)
    else:
        lines = [found["refused"] or f"Not running. Start it with: portico up --home {found['home']}"]
    at_least = "" if found["home_bytes_complete"] else "at least "
    if found["service"]:
        lines += ["Served in the last hour:", *(f"  {line}" for line in _served(found["service"]))]
    if lost := found["predictions_lost"]:
        lines.append(f"Predictions that were answered and not logged, because a front was killed: {lost:,}")
    lines += [
        f"Isolation of user code: {found['isolation']['name']} ({found['isolation']['detail']})",
        f"Jobs: {_counts(found['jobs'])}",
        f"Resources: {_counts(found['resources'])}",
        f"Home: {found['home']}, {at_least}{_megabytes(found['home_bytes'])}",
    ]
    if found["disk"].get("full"):
        lines.append(found["disk"]["message"])
    return "\n".join(lines)


def _disk(home: Path) -> dict[str, Any]:
    """Room on the disk, in bytes; empty where there is no home yet."""
    from portico.store import disk

    if not home.exists():
        return {}
    now = disk.room(home)
    found = {"free_bytes": now.free, "reserve_bytes": now.reserve, "full": now.full}
    return {**found, "message": disk.words(home)} if now.full else found


def _served(service: list[dict[str, Any]]) -> Iterator[str]:
    """A deployed model's service in a line. Names that stand for several carry their ids."""
    endpoint_names = Counter(
        name for name, _ in {(one["endpointDisplayName"], one["endpoint"]) for one in service}
    )
    names = Counter((one["endpoint"], one["deployedModelDisplayName"]) for one in service)
    for one in service:
        endpoint, model = one["endpointDisplayName"], one["deployedModelDisplayName"]
        if endpoint_names[endpoint] > 1:
            endpoint += f" ({one['endpoint'].rpartition('/')[2]})"
        if names[one["endpoint"], model] > 1:
            model += f" ({one['deployedModel']})"
        words = [f"{one['requests']:,} requests"]
        if one["failed"]:
            words.append(f"{one['failed']:,} failed by our fault")
        if one["p50Latency"] is not None:
            words.append(f"p50 {one['p50Latency'] * 1000:.3g} ms, p99 {one['p99Latency'] * 1000:.3g} ms")
        if one["saturation"] is not None:
            words.append(f"{one['saturation']:.0%} busy")
        yield f"{endpoint}, {model or '(no deployed model)'}: {', '.join(words)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _processes(pid: int) -> list[dict[str, Any]]:
    """The supervisor and everything below it."""
    import psutil

    try:
        supervisor = psutil.Process(pid)
        found = [supervisor, *supervisor.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    described = []
    for process in found:
        try:
            name = process.name()
            if process.pid == pid:
                name = "supervisor"
            described.append({"pid": process.pid, "name": name, "pss_bytes": _pss(process)})
        except psutil.Error:
            continue  # it ended meanwhile
    return described


def _pss(process: Any) -> int:
    """Proportional set size, bytes; where the system doesn't tell (macOS) the unique set size."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.uss))


_NOTHING: dict[str, Any] = {"jobs": {}, "resources": {}, "service": [], "predictions_lost": 0}


def _refusal(home: Path) -> str:
    """Why `portico up` would refuse the home, "" where it would not."""
    from portico.store.home import RefusedHome, check

    try:
        check(home)
    except RefusedHome as refused:
        return refused.message
    return ""


def _held(home: Path) -> dict[str, Any]:
    """Jobs by state, resources by collection, and how deployed models served in the last hour of domain time."""
    from portico.store import backend

    if backend.of(home).look().absent:
        return _NOTHING
    import sqlalchemy as sa

    from portico.clock import SystemClock
    from portico.prediction.prediction_log import lost
    from portico.store import domain_clock, service
    from portico.store.database import Database
    from portico.store.tables.jobs import jobs
    from portico.store.tables.resources import resources
    from portico.store.tables.storage import objects

    database = Database(home)
    try:
        with database.read() as connection:

            def counted(column: Any) -> dict[str, int]:
                rows = connection.execute(
                    sa.select(column, sa.func.count()).group_by(column).order_by(column)
                )
                return {str(name): int(count) for name, count in rows}

            held = counted(resources.c.kind)
            for name, table in (("buckets", sa.table("storage_buckets")), ("objects", objects)):
                count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
                if count:
                    held[name] = int(count)
            counts_of: dict[tuple[str, str], Any] = {}
            if sa.inspect(connection).has_table("service_counts"):  # a newer Portico has run on this home
                hour_ago = domain_clock.now(connection, SystemClock()) - 3600
                counts_of = service.listed(connection, start=hour_ago)
            served = [
                {
                    "endpoint": endpoint,
                    "deployedModel": deployed_model,
                    **_display_names(connection, endpoint, deployed_model),
                    "requests": counts.requests,
                    "failed": counts.failed,
                    "p50Latency": counts.quantile(0.5),
                    "p99Latency": counts.quantile(0.99),
                    "saturation": counts.saturation,
                }
                for (endpoint, deployed_model), counts in counts_of.items()
            ]
            return {
                "jobs": counted(jobs.c.state),
                "resources": held,
                "service": served,
                "predictions_lost": lost(connection),
            }
    finally:
        database.close()


def _display_names(connection: Any, endpoint: str, deployed_model: str) -> dict[str, str]:
    """What people call an endpoint and a model deployed on it; their ids, where they are gone or have no name."""
    from portico.store import resources

    found = resources.get(connection, endpoint)
    body = found.body if found else {}
    named = {one["id"]: one.get("displayName", "") for one in body.get("deployedModels") or []}
    return {
        "endpointDisplayName": body.get("displayName") or endpoint.rpartition("/")[2],
        "deployedModelDisplayName": named.get(deployed_model) or deployed_model,
    }


def _size(home: Path) -> tuple[int, bool]:
    """The bytes that `home` takes on the disk, and whether there was time to count all of it."""
    end = time.monotonic() + _SIZE_SECONDS
    size = 0
    for entry in _files(home):
        try:
            size += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
        if time.monotonic() > end:
            return size, False
    return size, True


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        else:
            yield entry
