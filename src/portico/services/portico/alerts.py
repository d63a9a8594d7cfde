"""Alerts of stewards: what is not acceptable, since when, by how much, and what to look at first.

An alert opens once, is updated at every look while it lasts, and closes when what was broken holds again. Opening and
closing are told to the steward's sinks (see `alert_delivery`) and to the log; a silenced alert is told to nobody.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, parse_rfc3339, rfc3339
from portico.errors import InvalidArgument
from portico.services.call import Call, Rooms, implements
from portico.services.standard.collection import Collection, register
from portico.store import domain_clock, resources
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.ml.watch.distances import FeatureScore
    from portico.services.portico.joining import Outcome

log = logging.getLogger(__name__)

ALERTS = Collection("projects.locations.stewards.alerts", "Alert", api="portico", has_etag=False)
register(ALERTS, "get", "list")
_TRUTH = "(truth)"
_ESTIMATED = "estimated "
DELIVERIES = "alertDeliveries"  # rows of what must still be told; see `alert_delivery`


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
    sinks = steward.body.get("notify") or {}
    shown = ALERTS.render(alert)
    for kind in ("emails", "webhooks"):
        for sink in sinks.get(kind) or []:
            body = {
                "kind": kind, "sink": sink, "event": event, "subject": subject, "text": text, "alert": shown,
                "attempts": 0, "due": 0.0,
            }  # fmt: skip
            resources.insert(
                connection, name=f"{alert.name}/deliveries/{rooms.ids.number()}", kind=DELIVERIES,
                parent=alert.name, body=body, now=rooms.clock.now(),
            )  # fmt: skip


def message(steward: str, alert: Resource, event: str) -> tuple[str, str]:
    """Subject and text for people."""
    body, name = alert.body, steward.rpartition("/")[2]
    subject = f"[Portico] {name}: {body['metric']} is {'not acceptable' if event == 'opened' else 'acceptable again'}"
    lines = [
        f"{body['metric']} is {body['value']:.4g}, {body['limit']:.4g} is acceptable, over {body['rows']} rows.",
        f"Since {body['openTime']}" + (f" until {body['closeTime']}." if "closeTime" in body else "."),
    ]
    if body.get("kind"):
        lines.append(body["kind"])
    for one in body.get("contributors", []):
        lines.append(f"  {one['feature']}: distance {one['distance']:.3f}. {one['most']}")
    if body.get("lookFirst"):
        lines.append(body["lookFirst"])
    lines.append(f"The alert: {alert.name}")
    return subject, "\n".join(lines)


def diagnosis(before: Sequence[Outcome], now: Sequence[Outcome], kinds: Mapping[str, str]) -> dict[str, Any]:
    """What changed between the labelled predictions `before` a window and those of it, as far as they tell.

    `kinds` has the model's features; times move always, and are left out.

    Covariate drift: features that differ by more than chance. Prevalence or concept: the truth does and they do not; or
    neither does, and only what ties them together has changed.
    """
    import pyarrow as pa

    from portico.ml.tables import rows_to_batch
    from portico.ml.watch.bins import count, fit_bins
    from portico.ml.watch.distances import score

    if len(before) < 100 or len(now) < 50:
        return {}
    names = [name for name, kind in kinds.items() if kind in ("numeric", "categorical")]

    def table(rows: Sequence[Outcome]) -> Any:
        made = []
        for row in rows:
            instance = row.instance if isinstance(row.instance, dict) else {}
            made.append(
                {name: instance.get(name) for name in names} | {_TRUTH: row.label and row.label.truth}
            )
        return pa.Table.from_batches([rows_to_batch(made)])

    old = table(before)
    bins = fit_bins(old)
    moved = {s.name: s for s in score(count(table(now), bins), count(old, bins), bins)}
    # The two-sample Kolmogorov-Smirnov test's critical value at 1% over all columns (Smirnov 1948).
    wide = math.sqrt(-math.log(0.005 / len(moved)) / 2) * math.sqrt(1 / len(before) + 1 / len(now))

    def beyond(one: FeatureScore) -> float:
        found = one.kolmogorov_smirnov
        return (one.distance if found is None else found) - wide

    truth = moved.pop(_TRUTH)
    order = sorted(moved.values(), key=lambda one: -beyond(one))
    real = [one for one in order if beyond(one) > 0]
    target = beyond(truth) > 0
    if real and target:
        kind = "The features moved, and the truth with them: covariate drift, perhaps with a changed concept."
    elif real:
        kind = "The features moved and the truth did not: covariate drift."
    elif target:
        kind = "The truth moved and the features did not: the prevalence or the concept changed."
    else:
        kind = "Neither the features nor the truth moved much: the relation between them changed (concept drift)."
    first = real[0].name if real else "the labels themselves, and what the features do not tell"
    return {
        "kind": kind,
        "contributors": [
            {"feature": s.name, "distance": s.distance, "most": s.most or ""} for s in order[:3]
        ],
        "lookFirst": f"Look first at {first}.",
    }
