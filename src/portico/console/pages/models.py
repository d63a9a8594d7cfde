"""Models: the registry's list, and a model's card with its versions, evaluation and lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from portico.console import charts, words
from portico.console.charts import Chart
from portico.console.looking import Looking, address, page
from portico.console.pages import lineage

_AT = "/projects/{project}/locations/{location}"
_COMPARED = 12  # versions whose evaluations are set beside each other
# In a table of metrics, the ones that people ask for first.
_FIRST = (
    "meanAbsoluteError",
    "rootMeanSquaredError",
    "weightedAbsolutePercentageError",
    "rSquared",
    "auRoc",
    "auPrc",
    "accuracy",
    "logLoss",
    "f1Score",
    "meanAbsolutePercentageError",
    "rootMeanSquaredLogError",
)


def containing(looking: Looking) -> str:
    """The filter for what the visitor looks for in display names; "" where they look for nothing."""
    wanted = looking.query.get("q", "").strip().strip("*")
    return f"display_name={json.dumps(f'*{wanted}*')}" if wanted else ""


@page(f"{_AT}/models")
def models(looking: Looking) -> Response:
    found, more = looking.page_of(f"/v1/{looking.parent}/models", "models", filter=containing(looking))
    return looking.show("models.html", "Models", models=found, more=more)


@page(f"{_AT}/models/{{id}}")
def model(looking: Looking) -> Response:
    api = looking.api
    name = looking.name("models").partition("@")[0]
    version = looking.query.get("version") or looking.part("id").partition("@")[2]
    shown, versions = api.each(
        lambda: api.call("GET", f"/v1/{name}{'@' + version if version else ''}"),
        lambda: api.listed(
            f"/v1/{name}:listVersions", "models", pageSize=100, orderBy="version_create_time desc"
        ),
    )

    at = f"{name}@{shown['versionId']}"
    evaluations = api.listed(f"/v1/{at}/evaluations", "modelEvaluations")
    stewards = api.listed(f"{api.parent}/stewards", "stewards")
    deployed = {one["endpoint"] for one in shown.get("deployedModels") or []}
    kept = [one for one in stewards if one["endpoint"] in deployed]
    slices = (
        api.listed(f"/v1/{evaluations[0]['name']}/slices", "modelEvaluationSlices") if evaluations else []
    )
    measured = evaluations[0] if evaluations else {}
    metadata = measured.get("metadata") or {}
    compared = _compared(looking, versions[:_COMPARED], measured)
    return looking.show(
        "model.html",
        words.title(shown),
        model=shown,
        versions=versions,
        name=name,
        evaluation=measured,
        evaluations=evaluations,
        verdict=_verdict(metadata),
        metrics=_metrics(measured),
        curves=_curves(measured),
        slices=_slices(slices),
        importance=_importance(shown),
        fairness=_fairness(kept),
        stewards=kept,
        not_computed=metadata.get("notComputed") or {},
        compared=compared,
        lineage=lineage.drawn(looking, at),
    )


@page(f"{_AT}/models/{{id}}/describe", "POST")
def describe(looking: Looking) -> Response:
    """A person writes down what a model is for."""
    name = looking.name("models")
    said = {"description": looking.form.get("description", "").strip()}
    looking.api.call("PATCH", f"/v1/{name}", said, updateMask="description")
    return looking.go(address(name))


def _metrics(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    metrics = evaluation.get("metrics") or {}
    bounds = (evaluation.get("metadata") or {}).get("intervals") or {}
    plain = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    order = sorted(plain, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return [(words.metric(n), words.number(plain[n]), words.interval(bounds.get(n))) for n in order]


def _compared(looking: Looking, versions: list[dict[str, Any]], shown: Mapping[str, Any]) -> Chart | None:
    """The first of the shown evaluation's metrics, version by version; each may have been measured on other rows."""
    metric = next((n for n in _FIRST if n in (shown.get("metrics") or {})), "")
    if len(versions) < 2 or not metric:
        return None
    base = versions[0]["name"]
    found = looking.api.over(
        lambda one: looking.api.listed(f"/v1/{base}@{one['versionId']}/evaluations", "modelEvaluations"),
        versions,
    )
    points = []
    for version, some in zip(versions, found, strict=True):
        for one in some[:1]:
            if isinstance(value := (one.get("metrics") or {}).get(metric), int | float):
                bounds = ((one.get("metadata") or {}).get("intervals") or {}).get(metric)
                points.append((f"version {version['versionId']}", float(value), bounds))
    if len(points) < 2:
        return None
    chart = charts.intervals(f"The versions: {words.metric(metric)}", points, words.metric(metric))
    says = "Each as it was evaluated: not all on the same rows."
    return Chart(chart.title, chart.figure, says, chart.head, chart.rows, chart.height)


def _verdict(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The model beside the simple answers, with their losses drawn."""
    told = metadata.get("baseline") or {}
    if not told.get("baselineLosses"):
        return {}
    metric = told.get("metric", "loss")
    if str(told.get("objective", "")).startswith("maximize"):  # its loss is what is missing to 1
        metric = f"1 − {metric}"
    losses = {"this model": told["modelLoss"], **told["baselineLosses"]}
    order = sorted(losses, key=lambda name: losses[name], reverse=True)
    figure = {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": order,
                "x": [losses[n] for n in order],
                "marker": {"color": ["--one" if n == "this model" else "--field" for n in order]},
            }
        ],
        "layout": charts.axes(metric, yaxis={"type": "category", "automargin": True}),
    }
    rows = [[n, words.number(losses[n])] for n in reversed(order)]
    chart = Chart(
        "Beside simple answers (less is better)",
        figure,
        "",
        ["answer", metric],
        rows,
        100 + 30 * len(order),
    )
    return {"sentence": told.get("sentence", ""), "better": told.get("modelIsBetter"), "chart": chart}


def _curves(evaluation: Mapping[str, Any]) -> list[Chart]:
    """What to look at for the kind of problem: of classes ROC, precision and recall, and what was taken for what; of
    numbers the metrics with their intervals."""
    metrics = evaluation.get("metrics") or {}
    made = []
    if entries := metrics.get("confidenceMetrics"):
        made += [
            charts.roc(entries, metrics.get("auRoc")),
            charts.precision_recall(entries, metrics.get("auPrc")),
        ]
    if matrix := metrics.get("confusionMatrix"):
        made.append(charts.confusion(matrix))
    bounds = (evaluation.get("metadata") or {}).get("intervals") or {}
    errors = [
        (words.metric(n), float(metrics[n]), bounds.get(n))
        for n in ("meanAbsoluteError", "rootMeanSquaredError")
        if n in metrics
    ]
    if errors:
        made.append(charts.intervals("How far off it is", errors, "in the target's unit"))
    return made


def _slices(found: list[dict[str, Any]]) -> Chart | None:
    points = []
    for one in found:
        metrics = one.get("metrics") or {}
        name = next((n for n in _FIRST if isinstance(metrics.get(n), int | float)), None)
        if name:
            of = one.get("slice") or {}
            points.append((name, _slice(of), float(metrics[name])))
    if not points:
        return None
    metric = points[0][0]
    some = [(words_of, value, None) for name, words_of, value in points if name == metric][:40]
    return charts.intervals(f"Slices: {words.metric(metric)}", some, words.metric(metric))


def _slice(of: Mapping[str, Any]) -> str:
    kind = {"annotationSpec": "class ", "slice": ""}.get(
        of.get("dimension", ""), f"{of.get('dimension', '')} "
    )
    return f"{kind}{of.get('value', '')}"


def _importance(model: Mapping[str, Any]) -> Chart | None:
    shares = (model.get("metadata") or {}).get("featureImportance") or {}
    if not shares:
        return None
    first = max(shares, key=lambda name: shares[name])
    says = f"{first} matters most: {shares[first]:.0%} of what moves its answers."
    return charts.bars("What it looks at", shares, says, "share of its decisions")


def _fairness(stewards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        one | {"steward": steward["name"]}
        for steward in stewards
        for one in (steward.get("status") or {}).get("acceptable", [])
        if one.get("attributes")
    ]
