"""What was found in a window, in words for the log and the mail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import Connection

from portico.services.alerts.delivery import note
from portico.store import events
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.ml.watch.sketches import Sketches

KINDS: Final = ("skew", "drift")
_SHARES: Final = {
    "missing": "are missing",
    "new": "are new to the training data",
    "invalid": "are of a wrong type",
}


def anomalies(window: Mapping[str, Any]) -> int:
    """How many there are in a window's body."""
    scored = [about[kind] for _, _, about in _columns(window) for kind in KINDS if kind in about]
    attributed = window.get("attributions") or {}
    scored += [found for kind in KINDS for found in (attributed.get(kind) or {}).values()]
    return sum(map(anomalies_of, scored)) + sum(
        len(window.get(key) or {}) for key in ("unknown", "incomparable")
    )


def anomalies_of(found: Mapping[str, Any]) -> int:
    """How many there are in one score: its distance, and shares of rows that are above their thresholds."""
    return above(found) + len(found.get("shares") or {})


def above(found: Mapping[str, Any]) -> bool:
    """Whether a score's distance is beyond its threshold."""
    return bool(found["distance"] > found["threshold"])


def lines(window: Mapping[str, Any], sketches: Sketches) -> list[str]:
    """One for each anomaly of a window: which, how far beyond what, and what moved most."""
    from portico.ml.watch.outputs import display_name

    names = list(window["features"])
    made, calibrated = [], False
    for group, name, about in _columns(window):
        shown = display_name(name, names) if group == "outputs" else name
        absent = about["counts"]["missing"] == window["rows"] and group == "features"
        for kind in KINDS:
            found = about.get(kind)
            if found is None:
                continue
            if above(found):
                calibrated |= found["calibrated"]
                made.append(
                    f"{kind} of {shown!r} is {found['distance']:.3f}, above {found['threshold']:.3f} "
                    f"({found['most']}{_now(sketches, name, found['kind']) if group == 'features' else ''})"
                )
            for share, told in (found.get("shares") or {}).items():
                calibrated = True
                what = "absent: no row has it" if absent and share == "missing" else _told(share, told)
                made.append(f"{kind} of {shown!r}: {what}")
    for kind in KINDS:
        for name, found in ((window.get("attributions") or {}).get(kind) or {}).items():
            if above(found):
                calibrated |= found["calibrated"]
                made.append(
                    f"{kind} of the attributions of {name!r} is {found['distance']:.3f}, above "
                    f"{found['threshold']:.3f} ({found['before']:.1%} of all before, {found['score']:.1%} now)"
                )
    for name, rows in (window.get("unknown") or {}).items():
        made.append(f"{name!r} is a feature that nobody knew: {rows:,} rows have it")
    for what, why in (window.get("incomparable") or {}).items():
        made.append(f"{what} can't be compared: {why}")
    if calibrated:
        from portico.ml.watch.calibrate import RATE

        made.append(
            f"A threshold that the job does not give is one that chance exceeds in {RATE:.0%} of the windows, over all "
            "features of an objective together"
        )
    return made


def mail(
    connection: Connection,
    job: Resource,
    number: str,
    addresses: Sequence[str],
    where: str,
    opening: str,
    told: Sequence[str],
    now: float,
) -> None:
    """Notes in the caller's transaction a mail to each address about what a job found, if anything, and that it was
    found; `number` is the finding's own. The scheduler sends it, again and again where that fails."""
    if not told:
        return
    source = job.parent if "/modelMonitors/" in job.parent else job.name
    facts = {"source": source, "alert": job.name, "message": where, "details": list(told)}
    events.note(connection, events.ALERT, source, facts, now)
    text = (
        f"{opening}\n\n"
        + "\n".join(f"- {line}" for line in told)
        + f"\n\nLook first at what moved most, and at where it comes from. The job: {job.name}\n"
    )
    for position, address in enumerate(addresses):
        name = f"{job.name}/deliveries/{number}-{position}"
        note(connection, name, "emails", address, "opened", f"Portico: {where}", text, now)


def _columns(window: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for group in ("features", "outputs"):
        for name, about in (window.get(group) or {}).items():
            yield group, name, about


def _told(share: str, told: Mapping[str, float]) -> str:
    return (
        f"{told['now']:.1%} of the values {_SHARES[share]}, above {told['threshold']:.1%} "
        f"({told['before']:.1%} before)"
    )


def _now(sketches: Sketches, name: str, kind: str) -> str:
    """What bins can't tell: the quartiles now, or the categories that are most frequent now."""
    from portico.ml.watch.sketches import quantiles, top

    if name not in sketches:
        return ""
    if kind == "numeric":
        found = [f"{number:.6g}" for number in quantiles(sketches[name])]
        return f"; least, quartiles and most now {', '.join(found)}" if found else ""
    names = [name for name, _ in top(sketches[name], 3)]
    return f"; most frequent now {', '.join(names)}" if names else ""
