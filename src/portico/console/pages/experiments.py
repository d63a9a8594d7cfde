"""Experiments: their runs with parameters and metrics beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from portico.console import charts, words
from portico.console.charts import Chart
from portico.console.looking import Looking, page

_AT = "/projects/{project}/locations/{location}/experiments"
_RUNS = 100  # that are compared


@page(_AT)
def experiments(looking: Looking) -> Response:
    wanted = looking.query.get("q", "").strip().strip("*")
    asked = 'schema_title="system.Experiment"'
    if wanted:
        asked += f" AND display_name={json.dumps(f'*{wanted}*')}"
    found, more = looking.page_of(_contexts(looking), "contexts", filter=asked)
    return looking.show("experiments.html", "Experiments", experiments=found, more=more)


@page(f"{_AT}/{{id}}")
def experiment(looking: Looking) -> Response:
    name = f"{looking.parent}/metadataStores/default/contexts/{looking.part('id')}"
    shown = looking.api.call("GET", f"/v1/{name}")
    found, more = looking.page_of(
        _contexts(looking), "contexts", filter=f'parent_contexts:"{name}"', pageSize=_RUNS
    )
    runs = [_run(one) for one in found]
    names = {side: sorted({key for run in runs for key in run[side]}) for side in ("params", "metrics")}
    asked = looking.query.get("metric", "")
    metric = asked if asked in names["metrics"] else next(iter(names["metrics"]), "")
    return looking.show(
        "experiment.html",
        words.title(shown),
        experiment=shown,
        runs=runs,
        names=names,
        more=more,
        metric=metric,
        chart=_compared(runs, metric) if metric else None,
        parallel=_parallel(runs, names["params"], metric),
    )


def _contexts(looking: Looking) -> str:
    return f"/v1/{looking.parent}/metadataStores/default/contexts"


def _run(context: Mapping[str, Any]) -> dict[str, Any]:
    """A run as Google's client writes one."""
    metadata = context.get("metadata") or {}
    return {
        "name": context.get("displayName") or words.short(context["name"]),
        "context": context,
        "state": str(metadata.get("_state", "")),
        "params": dict(metadata.get("_params") or {}),
        "metrics": {k: v for k, v in (metadata.get("_metrics") or {}).items() if isinstance(v, int | float)},
    }


def _compared(runs: list[dict[str, Any]], metric: str) -> Chart | None:
    values = {run["name"]: float(run["metrics"][metric]) for run in runs if metric in run["metrics"]}
    if not values:
        return None
    low, high = min(values, key=lambda n: values[n]), max(values, key=lambda n: values[n])
    says = (
        f"The least is {words.number(values[low])} ({low}), the most {words.number(values[high])} ({high})."
    )
    chart = charts.bars(words.metric(metric), values, says, words.metric(metric), 40)
    return Chart(chart.title, chart.figure, says, ["run", metric], chart.rows, chart.height)


def _parallel(runs: list[dict[str, Any]], names: list[str], metric: str) -> Chart | None:
    """Runs as lines from parameter to parameter, where at least two have the same ones."""
    rows = [
        {"id": r["name"], **r["params"], metric: r["metrics"].get(metric)}
        for r in runs
        if metric in r["metrics"]
    ]
    shared = [n for n in names if sum(n in r for r in rows) == len(rows)]
    if len(rows) < 2 or not shared:
        return None
    return charts.parallel("From parameters to what was measured", rows, shared[:8], metric)
