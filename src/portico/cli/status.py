"""`portico status`: what runs on a home, and what it holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portico.cli.jobs import in_lines
from portico.cli.up import OPEN
from portico.errors import PorticoError
from portico.store import sizes

# What only the server knows.
_UNKNOWN: dict[str, Any] = {
    "jobs": None, "waiting": [], "resources": None, "service": None, "not_served": [], "predictions_lost": None,
    "soft_deleted_bytes": None, "problem": "",
}  # fmt: skip
_SIZE_SECONDS = 1.0  # how long measuring the home's size may take


def collect(home: Path) -> dict[str, Any]:
    """What `portico status --json` prints. Sizes and memory are bytes; memory is PSS, which can be added up."""
    from portico.host.address import running
    from portico.sandbox.isolation import isolation

    address = running(home)
    in_force = isolation(address is not None and address.unconfined)
    size, whole = _size(home)
    refused = "" if address else _refusal(home)
    return {
        "running": address is not None,
        "url": address.url if address else None,
        "public": address.public if address else None,
        "grpc": address.grpc_address if address else None,
        "pid": address.pid if address else None,
        "auth": address.auth if address else None,
        "processes": _processes(address.pid) if address else [],
        "isolation": {"name": in_force.name, "detail": in_force.detail},
        **(_held(home) if address else _UNKNOWN),
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
        if found["public"]:
            lines.append(f"For other machines, by TLS, at {found['public']}")
        lines.append(f"gRPC (BigQuery Storage) at {found['grpc']}")
        lines += [
            f"  {p['pid']:>8}  {_megabytes(p['pss_bytes']):>10}  {p['name']}" for p in found["processes"]
        ]
        if found["auth"] == "open":
            lines.append(OPEN)
    else:
        lines = [found["refused"] or f"Not running. Start it with: portico up --home {found['home']}"]
    if found["problem"]:
        lines.append(f"What it holds can't be told: {found['problem']}")
    at_least = "" if found["home_bytes_complete"] else "at least "
    if found["service"]:
        lines += ["Served in the last hour:", *(f"  {line}" for line in _served(found["service"]))]
    for one in found["not_served"]:
        where = f"{one['endpointDisplayName']}, {one['deployedModelDisplayName']}"
        lines.append(f"NOT SERVED: {where.removeprefix(', ')}: {one['reason']}")
    if lost := found["predictions_lost"]:
        lines.append(f"Predictions that were answered and not logged, because a front was killed: {lost:,}")
    lines.append(f"Isolation of user code: {found['isolation']['name']} ({found['isolation']['detail']})")
    if found["jobs"] is not None:
        lines.append(f"Jobs: {_counts(found['jobs'])}")
        lines += [f"  {line}" for line in in_lines(found["waiting"])]
        if (more := found["jobs"].get("QUEUED", 0) - len(found["waiting"])) > 0:
            lines.append(f"  and {more} more: portico jobs")
        lines.append(f"Resources: {_counts(found['resources'])}")
    lines.append(f"Home: {found['home']}, {at_least}{_megabytes(found['home_bytes'])}")
    if kept := found["soft_deleted_bytes"]:
        lines.append(
            f"Soft-deleted objects: {_megabytes(kept)}; a bucket's go at once when its "
            "softDeletePolicy.retentionDurationSeconds is set to 0"
        )
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


def _refusal(home: Path) -> str:
    """Why `portico up` would refuse the home, "" where it would not."""
    from portico.store.home import RefusedHome, check

    try:
        check(home)
    except RefusedHome as refused:
        return refused.message
    return ""


def _held(home: Path) -> dict[str, Any]:
    """Jobs by state, resources by collection, and how deployed models served in the last hour of domain time, as the
    server tells; with `problem`, where it does not."""
    from portico.client.api import Client

    try:
        found = Client(home=home).call("GET", "home")
    except PorticoError as error:
        return {**_UNKNOWN, "problem": error.message}
    absent = {"p50Latency": None, "p99Latency": None, "saturation": None}
    return {
        "jobs": found["jobs"],
        "waiting": found["waiting"],
        "resources": found["resources"],
        "service": [absent | one for one in found["served"]],
        "not_served": found["notServed"],
        "predictions_lost": found["lostPredictions"],
        "soft_deleted_bytes": int(found["softDeletedBytes"]),
        "problem": "",
    }


def _size(home: Path) -> tuple[int, bool]:
    """The bytes that `home` takes on the disk, and whether there was time to count all of it."""
    end = time.monotonic() + _SIZE_SECONDS
    size = 0
    for found in sizes.below(home):
        size += found.st_blocks * 512
        if time.monotonic() > end:
            return size, False
    return size, True
