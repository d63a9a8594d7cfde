"""Alerts of stewards: what is not acceptable, since when, by how much, and what to look at first.

An alert opens once, is updated at every look while it lasts, and closes when what was broken holds again. Opening and
closing are told to the steward's sinks (see `alerts.delivery`) and to the log; a silenced alert is told to nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, parse_rfc3339, rfc3339
from portico.errors import InvalidArgument
from portico.services.alerts.delivery import DELIVERIES, note
from portico.services.call import Call, Rooms, implements
from portico.services.portico.steward.evidence import output_of, truth_of
from portico.services.standard.collection import Collection, register
from portico.store import domain_clock, events, resources
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.ml.watch.diagnose_tests import Labelled
    from portico.services.portico.joining import Outcome

log = logging.getLogger(__name__)


class Alerts(Collection):
    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        """Nobody is told any more."""
        for delivery in list(resources.listed(connection, DELIVERIES, resource.name)):
            resources.delete(connection, delivery.name)


ALERTS = Alerts("projects.locations.stewards.alerts", "Alert", api="portico", has_etag=False)
register(ALERTS, "get", "list")
_ESTIMATED = "estimated "
_NAMED = 3  # features and slices in an alert


@implements("portico", ALERTS.method("silence"))
def silence(call: Call) -> dict[str, Any]:
    """Nobody is told of this alert, or of another of the same metric, until the silence ends."""
    length = duration_seconds(call.body.get("duration") or "0s")
    if length < 0:
        raise InvalidArgument("duration is negative.", field="duration")
    with call.rooms.database.write() as connection:
        alert = ALERTS.require(connection, call.name)
        now = domain_clock.now(connection, call.rooms.clock)
        alert.body["silencedUntil"] = rfc3339(now + length)
        return ALERTS.render(resources.update(connection, alert, call.rooms.clock.now()))


def follow(
    rooms: Rooms, connection: Connection, steward: Resource, shown: Sequence[Mapping[str, Any]], now: float,
    words: Mapping[str, Any],
) -> None:  # fmt: skip
    """Opens, updates and closes the alerts of a steward by what it has just seen, in the caller's transaction.

    `shown` are its `AcceptableStatus`es; `words` what is said of a new alert beside the numbers.
    """
    every = list(resources.listed(connection, ALERTS.kind, steward.name))
    current = {key_of(one) for one in shown}
    for old in every:
        metric = str(old.body["metric"])
        if old.body["state"] == "OPEN" and metric.startswith(_ESTIMATED) and metric not in current:
            # Labels have come: what is measured takes its place.
            old.body |= {"state": "CLOSED", "closeTime": rfc3339(now)}
            resources.update(connection, old, rooms.clock.now())
    for one in shown:
        held = [alert for alert in every if alert.body["metric"] == key_of(one)]
        alert = next((a for a in held if a.body["state"] == "OPEN"), None)
        silenced = any(
            parse_rfc3339(a.body["silencedUntil"]) > now for a in held if a.body.get("silencedUntil")
        )
        numbers = {key: one[key] for key in ("value", "limit", "interval", "rows") if key in one}
        if one["holds"]:
            if alert is not None:
                alert.body |= {"state": "CLOSED", "closeTime": rfc3339(now), **numbers}
                resources.update(connection, alert, rooms.clock.now())
                _tell(rooms, connection, steward, alert, "closed", silenced)
        elif alert is None:
            name = f"{steward.name}/alerts/{rooms.ids.number()}"
            body = {"state": "OPEN", "metric": key_of(one), "openTime": rfc3339(now), **numbers, **words}
            made = resources.insert(connection, name=name, kind=ALERTS.kind, parent=steward.name, body=body,
                                    now=rooms.clock.now())  # fmt: skip
            assert made is not None
            _tell(rooms, connection, steward, made, "opened", silenced)
        else:
            alert.body |= numbers
            resources.update(connection, alert, rooms.clock.now())


def key_of(one: Mapping[str, Any]) -> str:
    """What an alert is about: a metric, and the groups that it compares; or its estimate, before labels."""
    if one.get("estimated"):
        return f"{_ESTIMATED}{one['metric']}"
    return f"{one['metric']} by {one['attributes']}" if one.get("attributes") else str(one["metric"])


def _tell(
    rooms: Rooms, connection: Connection, steward: Resource, alert: Resource, event: str, silenced: bool
) -> None:
    """Notes what each sink must be told; it is sent after the commit, again and again until it arrives."""
    subject, text = message(steward.name, alert, event)
    if silenced:
        return
    log.warning("%s: the alert %s. %s", steward.name, event, text.splitlines()[0])
    if event == "opened":
        facts = {
            "source": steward.name,
            "alert": alert.name,
            "metric": alert.body["metric"],
            "message": text.splitlines()[0],
        }
        events.note(connection, events.ALERT, steward.name, facts, rooms.clock.now())
    sinks = steward.body.get("notify") or {}
    shown = ALERTS.render(alert)
    kinds: tuple[Literal["emails", "webhooks"], ...] = ("emails", "webhooks")
    for kind in kinds:
        for sink in sinks.get(kind) or []:
            name = f"{alert.name}/deliveries/{rooms.ids.number()}"
            note(connection, name, kind, sink, event, subject, text, rooms.clock.now(), shown)


def message(steward: str, alert: Resource, event: str) -> tuple[str, str]:
    """Subject and text for people."""
    body, name = alert.body, steward.rpartition("/")[2]
    subject = f"[Portico] {name}: {body['metric']} is {'not acceptable' if event == 'opened' else 'acceptable again'}"
    lines = [
        f"{body['metric']} is {body['value']:.4g}, {body['limit']:.4g} is acceptable, over {body['rows']} rows.",
        f"Since {body['openTime']}" + (f" until {body['closeTime']}." if "closeTime" in body else "."),
    ]
    if body.get("kind"):
        sure = f" ({body['sure']:.0%} sure)" if "sure" in body else ""
        lines.append(body["kind"] + sure)
    for one in body.get("contributors", []):
        lines.append(f"  {one['feature']}: distance {one['distance']:.3f}. {one['most']}")
    for one in body.get("slices", []):
        lines.append(
            f"  {one['slice']}: loss {one['lossBefore']:.3g} before, {one['loss']:.3g} now in {one['rows']} rows, "
            f"{one['contribution']:+.3g} to the mean."
        )
    if body.get("lookFirst"):
        lines.append(body["lookFirst"])
    lines.append(f"The alert: {alert.name}")
    return subject, "\n".join(lines)


def diagnosis(before: Sequence[Outcome], now: Sequence[Outcome], kinds: Mapping[str, str]) -> dict[str, Any]:
    """What changed between the labelled predictions `before` a window and those of it, as far as they tell.

    `kinds` has the model's features; times move always, and are left out. See `ml.diagnose` for what is tested. Empty
    where there are too few rows that can be read.
    """
    from portico.ml.errors import DataError
    from portico.ml.watch.bins import count, fit_bins
    from portico.ml.watch.diagnose import diagnose
    from portico.ml.watch.distances import score

    classes = _classes_of(now)
    try:
        old, new = (_labelled(rows, [*kinds], classes) for rows in (before, now))
        found = diagnose(old, new, kinds)
    except DataError:
        return {}
    bins = fit_bins(old.features, {name: kinds[name] for name in found.contributors})
    moved = {one.name: one for one in score(count(new.features, bins), count(old.features, bins), bins)}
    return {
        "kind": found.sentence,
        "sure": found.sure,
        "contributors": [
            {"feature": name, "distance": moved[name].distance, "most": moved[name].most}
            for name in found.contributors[:_NAMED]
        ],
        "slices": [one.to_json() for one in found.slices[:_NAMED] if one.contribution > 0],
        "lookFirst": found.look_first,
    }


def _classes_of(rows: Sequence[Outcome]) -> list[str]:
    """The classes of a classifier, as its answers name them; none of a regression."""
    answer = rows[-1].output if rows else None
    return list(answer.get("classes") or []) if isinstance(answer, dict) else []


def _labelled(rows: Sequence[Outcome], names: Sequence[str], classes: Sequence[str]) -> Labelled:
    """The rows whose answer and label can be read; the features of the others are not looked at."""
    import numpy as np
    import pyarrow as pa

    from portico.ml.tables import rows_to_batch
    from portico.ml.watch.diagnose_tests import Labelled

    made = []
    for row in rows:
        true, answer = (
            truth_of(row.label.truth if row.label else None, classes),
            output_of(row.output, classes),
        )
        if np.isfinite(true) and answer is not None:
            made.append((row, true, answer))
    cells = [row.instance if isinstance(row.instance, dict) else {} for row, *_ in made]
    table = rows_to_batch([{name: cell.get(name) for name in names} for cell in cells])
    return Labelled(
        pa.Table.from_batches([table]),
        np.array([true for _, true, _ in made], float),
        np.array([answer for *_, answer in made], float),
        np.array([row.time for row, *_ in made], float),
    )
