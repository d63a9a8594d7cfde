"""Home: is everything well, what needs a person, and what happened this week, in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from portico.clock import parse_rfc3339
from portico.console import words
from portico.console.looking import BASE, Looking, address, page
from portico.console.words import plural

_WEEK = 7 * 86400.0
_LOOKED_AT = 50  # of each kind of thing, the newest
_RUNS = {
    "trainingPipelines": ("training", "trainings"),
    "customJobs": ("custom job", "custom jobs"),
    "hyperparameterTuningJobs": ("tuning job", "tuning jobs"),
    "pipelineJobs": ("pipeline run", "pipeline runs"),
    "batchPredictionJobs": ("batch prediction", "batch predictions"),
}
_MASK = "name,displayName,state,createTime,startTime,endTime,error"
Sentence = dict[str, str]


@page("/")
def front(looking: Looking) -> Response:
    """Leads to the place where most is."""
    places = looking.api.maybe("home").get("locations") or []
    if not places and looking.api.denied:
        return looking.go(f"{BASE}/places")
    best = max(
        places,
        key=lambda one: int(one.get("resources", 0)),
        default={"name": "projects/portico/locations/us-central1"},
    )
    return looking.go(address(best["name"]))


@page("/places")
def places(looking: Looking) -> Response:
    found = looking.api.maybe("home").get("locations") or []
    return looking.show("places.html", "Projects", places=found)


@page("/projects/{project}/locations/{location}")
def home(looking: Looking) -> Response:
    api = looking.api
    held, clock, stewards = api.each(
        lambda: api.maybe("home"),
        lambda: api.maybe("clock"),
        lambda: api.listed(f"{api.parent}/stewards", "stewards"),
    )
    runs = api.over(
        lambda kind: api.listed(f"/v1/{api.parent}/{kind}", kind, pageSize=_LOOKED_AT, readMask=_MASK), _RUNS
    )
    kept = api.over(lambda one: _kept(looking, one), stewards)
    ran = dict(zip(_RUNS, runs, strict=True))
    now = parse_rfc3339(clock["time"]) if clock else datetime.now(UTC).timestamp()
    needs = [*_of_stewards(kept), *_not_served(held, looking.parent), *_failed(ran)]
    happened = sorted(
        [*_moves(kept, now), *_ran(ran), *_deployed(looking)], key=lambda one: one["at"], reverse=True
    )
    served = [one for one in held.get("served", []) if one["endpoint"].startswith(f"{api.parent}/")]
    return looking.show(
        "home.html",
        "Home",
        needs=needs,
        happened=happened,
        served=served,
        clock=clock,
        stewards=stewards,
        nothing=not (
            stewards or any(runs) or any(one["name"] == api.parent for one in held.get("locations", []))
        ),
        jobs=held.get("jobs", {}),
    )


def _kept(looking: Looking, steward: dict[str, Any]) -> dict[str, Any]:
    """A steward with its newest episodes and open alerts."""
    episodes, alerts = (
        looking.api.listed(f"{steward['name']}/{key}", key, pageSize=_LOOKED_AT)
        for key in ("episodes", "alerts")
    )
    return {"steward": steward, "episodes": episodes, "alerts": alerts}


def _of_stewards(kept: list[dict[str, Any]]) -> Iterator[Sentence]:
    for one in kept:
        name = words.title(one["steward"])
        for episode in one["episodes"]:
            if episode["state"] == "AWAITING_APPROVAL":
                yield {
                    "words": f"A challenger of {name} has passed its gates and waits for your approval.",
                    "to": address(episode["name"]),
                    "do": "Look and decide",
                }
        for alert in one["alerts"]:
            if alert["state"] == "OPEN":
                kind = f" It looks like {alert['kind']}." if alert.get("kind") else ""
                yield {
                    "words": f"{name}: {words.metric(alert['metric'])} is {words.number(alert.get('value'))}, "
                    f"{words.number(alert.get('limit'))} is acceptable.{kind}",
                    "to": address(alert["name"]),
                    "do": "See the alert",
                }


def _not_served(held: dict[str, Any], parent: str) -> Iterator[Sentence]:
    """Of this place; what is of none that is known is everyone's."""
    for one in held.get("notServed", []):
        if one.get("endpoint") and not one["endpoint"].startswith(f"{parent}/"):
            continue
        yield {
            "words": f"{one['endpointDisplayName']} can't serve {one['deployedModelDisplayName']}: {one['reason']}",
            "to": address(one["endpoint"]) if one.get("endpoint") else "",
            "do": "Look",
        }


def _failed(ran: dict[str, list[dict[str, Any]]]) -> Iterator[Sentence]:
    """What failed this week, and did not succeed under the same name since."""
    for kind, some in ran.items():
        fine: set[str] = set()
        for one in some:  # the newest first
            name, state = words.title(one), words.plain_state(one.get("state", ""))
            if state == "SUCCEEDED":
                fine.add(name)
            elif state == "FAILED" and name not in fine and _is_recent(one.get("endTime", "")):
                fine.add(name)
                why = words.gist((one.get("error") or {}).get("message", ""))
                yield {
                    "words": f"The {_RUNS[kind][0]} {name} failed: {why}",
                    "to": address(one["name"]),
                    "do": "See why",
                }


def _is_recent(time: str) -> bool:
    return bool(time) and datetime.now(UTC).timestamp() - parse_rfc3339(time) < _WEEK


def _moves(kept: list[dict[str, Any]], now: float) -> Iterator[Sentence]:
    """What stewards did in the last week of domain time."""
    verbs = {
        "PROMOTED": "put a better version into service",
        "REJECTED": "turned a challenger down",
        "ROLLED_BACK": "rolled a challenger back",
        "ABANDONED": "gave an episode up",
    }
    for one in kept:
        for episode in one["episodes"]:
            last = episode.get("endTime") or (episode.get("transitions") or [{}])[-1].get("time", "")
            if not last or not 0 <= now - parse_rfc3339(last) < _WEEK:
                continue
            did = verbs.get(
                episode["state"],
                f"is at work ({words.plain_state(episode['state']).lower().replace('_', ' ')})",
            )
            yield {
                "at": last,
                "words": f"The steward of {words.title(one['steward'])} {did}: {episode.get('reason', '')}",
                "to": address(episode["name"]),
            }


def _ran(ran: dict[str, list[dict[str, Any]]]) -> Iterator[Sentence]:
    for kind, some in ran.items():
        ended: Counter[str] = Counter()
        newest: dict[str, dict[str, Any]] = {}
        for one in some:
            state = words.plain_state(one.get("state", ""))
            if state in ("SUCCEEDED", "FAILED") and _is_recent(one.get("endTime", "")):
                ended[state] += 1
                newest.setdefault(state, one)
        for state, count in ended.items():
            one = newest[state]
            most = "at least " if len(some) == _LOOKED_AT and count > _LOOKED_AT // 2 else ""
            said = f"{most}{plural(count, *_RUNS[kind])} {'succeeded' if state == 'SUCCEEDED' else 'failed'}"
            yield {
                "at": one["endTime"],
                "words": f"{said}; the last was {words.title(one)}.",
                "to": address(one["name"]),
            }


def _deployed(looking: Looking) -> Iterator[Sentence]:
    for endpoint in looking.api.listed(f"/v1/{looking.parent}/endpoints", "endpoints", pageSize=_LOOKED_AT):
        for one in endpoint.get("deployedModels") or []:
            if _is_recent(one.get("createTime", "")):
                yield {
                    "at": one["createTime"],
                    "words": f"{words.title({'name': one['model'], **one})} was deployed at {words.title(endpoint)}.",
                    "to": address(endpoint["name"]),
                }
