"""Stewards: what each watches, its episodes with their evidence, and what a person decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response

from portico.console import charts, words
from portico.console.charts import Chart
from portico.console.looking import Looking, address, page
from portico.errors import InvalidArgument

_AT = "/projects/{project}/locations/{location}/stewards"
OPEN = (
    "BREACHED",
    "ADJUSTING",
    "RETRAINING",
    "GATING",
    "AWAITING_APPROVAL",
    "SHADOW",
    "CANARY",
    "ROLLING_BACK",
)
_QUESTIONS = {
    "breach": "Is what is acceptable broken?",
    "gates": "May the challenger go on?",
    "shadow": "How does it do unseen?",
    "canary": "How does it do with a share of the traffic?",
    "promotion": "Shall it take over?",
    "drift": "Have the inputs moved?",
    "estimate": "What is to be expected before labels come?",
    "schedule": "Is it time?",
}


@page(_AT)
def stewards(looking: Looking) -> Response:
    found, more = looking.page_of(f"{looking.parent}/stewards", "stewards")
    return looking.show("stewards.html", "Stewards", stewards=found, more=more)


@page(f"{_AT}/{{id}}")
def steward(looking: Looking) -> Response:
    api, name = looking.api, looking.name("stewards")
    shown, (episodes, more), alerts = api.each(
        lambda: api.call("GET", name),
        lambda: looking.page_of(f"{name}/episodes", "episodes"),
        lambda: api.listed(f"{name}/alerts", "alerts", pageSize=25),
    )

    endpoint = api.maybe(f"/v1/{shown['endpoint']}")
    return looking.show(
        "steward.html",
        words.title(shown),
        steward=shown,
        name=name,
        episodes=episodes,
        more=more,
        alerts=alerts,
        endpoint=endpoint,
        charts=list(_history(episodes)),
        open=OPEN,
        acceptable=_acceptable(shown),
        live=bool((shown.get("status") or {}).get("episode")),
    )


@page(f"{_AT}/{{id}}/{{verb}}", "POST")
def act(looking: Looking) -> Response:
    """Pauses or resumes a steward."""
    verb, name = looking.part("verb"), looking.name("stewards")
    if verb not in ("pause", "resume"):
        raise InvalidArgument(f"A steward can't be asked to {verb}.")
    looking.api.call("POST", f"{name}:{verb}", {})
    return looking.go(address(name))


def _acceptable(steward: Mapping[str, Any]) -> Chart | None:
    """What is, with its interval, as a share of what is acceptable; whatever their units."""
    found = []
    for one in (steward.get("status") or {}).get("acceptable", []):
        limit = one.get("limit")
        if limit:
            bounds = one.get("interval")
            name = words.metric(one["metric"]) + (f" by {one['attributes']}" if one.get("attributes") else "")
            found.append((name, one["value"] / limit, [b / limit for b in bounds] if bounds else None))
    if not found:
        return None
    chart = charts.intervals("What is, beside what is acceptable", found, "as a share of the limit")
    chart.figure["layout"]["shapes"] = [
        {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": 1,
            "x1": 1,
            "line": {"color": "--bad", "dash": "dash"},
        }
    ]
    return Chart(
        chart.title,
        chart.figure,
        "The broken line is the limit. Bars are 95% intervals.",
        chart.head,
        chart.rows,
        chart.height,
    )


def _history(episodes: list[dict[str, Any]]) -> Iterator[Chart]:
    """Over the episodes that are listed: what was broken by how much, and how champion and challenger stood at the
    gates."""
    broken = [
        (e["startTime"][:10], d["numbers"])
        for e in reversed(episodes)
        for d in e.get("decisions") or []
        if d["question"] == "breach" and d["answer"] == "breached" and (d.get("numbers") or {}).get("limit")
    ]
    gates = [
        (e, d["numbers"]["gates"])
        for e in reversed(episodes)
        for d in e.get("decisions") or []
        if d["question"] == "gates" and (d.get("numbers") or {}).get("gates")
    ]
    if broken:
        metric = broken[-1][1]["metric"]
        same = [(at, n) for at, n in broken if n["metric"] == metric]
        lines = charts.Lines(
            f"What opened the episodes: {words.metric(metric)}",
            words.metric(metric),
            {"measured": ([at for at, _ in same], [n["value"] for _, n in same])},
            same[-1][1]["limit"],
            f"{words.number(same[-1][1]['limit'])} is acceptable.",
            "markers",
        )
        yield lines.chart()
    beside = [
        (e, g) for e, some in gates for g in some if g["gate"].endswith("than the champion") and "first" in g
    ]
    if beside:
        at = [e["startTime"][:10] for e, _ in beside]
        passed = sum(e["state"] == "PROMOTED" for e, _ in beside)
        figure = {
            "data": [
                {
                    "x": at,
                    "y": [g["second"] for _, g in beside],
                    "name": "champion",
                    "mode": "markers",
                    "type": "scatter",
                    "marker": {"color": "--field", "size": 10, "symbol": "circle"},
                },
                {
                    "x": at,
                    "y": [g["first"] for _, g in beside],
                    "name": "challenger",
                    "mode": "markers",
                    "type": "scatter",
                    "marker": {
                        "size": 11,
                        "symbol": "triangle-up",
                        "color": ["--good" if e["state"] == "PROMOTED" else "--two" for e, _ in beside],
                    },
                },
            ],
            "layout": charts.axes("", words.metric(beside[0][1].get("metric", "loss")), showlegend=True),
        }
        rows = [
            [a, words.number(g["second"]), words.number(g["first"]), words.plain_state(e["state"]).lower()]
            for a, (e, g) in zip(at, beside, strict=True)
        ]
        yield Chart(
            "Champion and challenger at the gates",
            figure,
            f"{passed} of {words.plural(len(beside), 'challenger')} were promoted (green).",
            ["episode", "champion", "challenger", "came to"],
            rows,
        )


# --- an episode ---


@page(f"{_AT}/{{id}}/episodes/{{episode}}")
def episode(looking: Looking) -> Response:
    return _episode(looking, {})


@page(f"{_AT}/{{id}}/episodes/{{episode}}/{{verb}}", "POST")
def decide(looking: Looking) -> Response:
    """A person approves, rejects or undoes a promotion, or has the decisions computed again."""
    verb, name = looking.part("verb"), _name(looking)
    if verb == "replay":
        return _episode(looking, looking.api.call("POST", f"{name}:replay", {}))
    if verb not in ("approve", "reject", "rollBack"):
        raise InvalidArgument(f"An episode can't be asked to {verb}.")
    looking.api.call("POST", f"{name}:{verb}", {"comment": looking.form.get("comment", "").strip()})
    return looking.go(address(name))


def _name(looking: Looking) -> str:
    return f"{looking.name('stewards')}/episodes/{looking.part('episode')}"


def _episode(looking: Looking, replayed: Mapping[str, Any]) -> Response:
    name = _name(looking)
    shown = looking.api.call("GET", name)
    decisions = [
        {"one": d, "question": _QUESTIONS.get(d["question"], d["question"]), "charts": list(_pictures(d))}
        for d in shown.get("decisions") or []
    ]
    running = shown["state"] in ("SHADOW", "CANARY")
    serving = ""
    if shown["state"] == "PROMOTED":  # it can be undone while it serves, and nothing else is under way
        status = (looking.api.maybe(name.partition("/episodes/")[0]).get("status")) or {}
        serving = "" if status.get("episode") else (status.get("champion") or {}).get("deployedModelId", "")
    return looking.show(
        "episode.html",
        f"Episode of {words.day(shown['startTime'])}",
        episode=shown,
        name=name,
        replayed=replayed,
        steward=name.partition("/episodes/")[0],
        decisions=decisions,
        open=shown["state"] in OPEN,
        running=running,
        serves=bool(serving) and serving == (shown.get("challenger") or {}).get("deployedModelId"),
    )


def _pictures(decision: Mapping[str, Any]) -> Iterator[Chart]:
    """A decision's evidence, drawn."""
    numbers = decision.get("numbers") or {}
    if decision["question"] == "breach" and numbers.get("value") is not None:
        metric = words.metric(numbers["metric"])
        chart = charts.intervals("Measured", [(metric, numbers["value"], numbers.get("interval"))], metric)
        chart.figure["layout"]["shapes"] = [
            {
                "type": "line",
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "x0": numbers["limit"],
                "x1": numbers["limit"],
                "line": {"color": "--bad", "dash": "dash"},
            }
        ]
        chart.figure["layout"]["yaxis"]["showticklabels"] = False
        yield Chart(
            f"{metric}, and what is acceptable",
            chart.figure,
            f"Measured {words.number(numbers['value'])}; up to the broken line, "
            f"{words.number(numbers['limit'])}, is acceptable.",
            chart.head,
            chart.rows,
            150,
        )
    for gate in numbers.get("gates") or []:
        if "first" in gate and "second" in gate:
            other = "the simple answer" if "simple" in gate["gate"] else "champion"
            yield _two(f"Gate: {gate['gate']}", gate, other)
    if "first" in numbers and "second" in numbers:
        yield _two("Challenger and champion on the same rows", numbers, "champion")
    features = numbers.get("features") if decision["question"] == "drift" else None
    if isinstance(features, list) and features:
        shares = {f["feature"]: f.get("distance", 0.0) for f in features}
        yield charts.bars("How far each feature has moved", shares, "", "distance")


def _two(title: str, found: Mapping[str, Any], other: str) -> Chart:
    metric = words.metric(str(found.get("metric", "loss")))
    figure = {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": [other, "challenger"],
                "x": [found["second"], found["first"]],
                "marker": {"color": ["--field", "--one"]},
                "text": [words.number(found["second"]), words.number(found["first"])],
                "textposition": "auto",
            }
        ],
        "layout": charts.axes(metric, yaxis={"type": "category", "automargin": True}),
    }
    gain, bounds = found.get("gain"), found.get("interval")
    says = ""
    if gain is not None:
        says = f"The challenger is {'better' if gain > 0 else 'worse'} by {words.number(abs(gain))}"
        says += f" (95% interval of the gain {words.interval(bounds)})." if bounds else "."
    rows = [[other, words.number(found["second"])], ["challenger", words.number(found["first"])]]
    return Chart(title, figure, says, ["", metric], rows, 170)
