"""Endpoints: traffic, latency, errors, drift, the prediction log, and a form to try one."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from portico.clock import parse_rfc3339, rfc3339
from portico.console import charts, words
from portico.console.api import Visitor
from portico.console.charts import Chart, Lines
from portico.console.looking import Looking, page
from portico.console.pages.models import containing
from portico.errors import PorticoError

_AT = "/projects/{project}/locations/{location}/endpoints"
_SPANS = {
    "1h": (3600.0, 12, "the last hour"),
    "1d": (86400.0, 24, "the last day"),
    "7d": (7 * 86400.0, 28, "the last week"),
    "90d": (90 * 86400.0, 30, "the last 90 days"),
}
_DRAWN = 1000  # logged predictions that distributions are drawn from
_BINS = 12
_PATIENCE = 0.3  # seconds that the log's page waits for its counts
_asking = ThreadPoolExecutor(2, thread_name_prefix="counts")
_counting: dict[tuple[str, Visitor], Future[dict[str, Any]]] = {}
_OF_REQUEST = 4  # instances of a request that are shown


@page(_AT)
def endpoints(looking: Looking) -> Response:
    found, more = looking.page_of(f"/v1/{looking.parent}/endpoints", "endpoints", filter=containing(looking))
    return looking.show("endpoints.html", "Endpoints", endpoints=found, more=more)


@page(f"{_AT}/{{id}}")
def endpoint(looking: Looking) -> Response:
    """Traffic, latency and errors in an interval that ends now, by the domain clock."""
    api, name = looking.api, looking.name("endpoints")
    span = looking.query.get("span") if looking.query.get("span") in _SPANS else "1d"
    shown, clock = api.each(lambda: api.call("GET", f"/v1/{name}"), lambda: api.maybe("clock"))
    length, pieces, said = _SPANS[str(span)]
    end = parse_rfc3339(clock["time"]) if clock else datetime.now(UTC).timestamp()
    edges = [end - length + length * at / pieces for at in range(pieces + 1)]
    whole, *series = api.over(
        lambda span: api.call(
            "GET", f"{name}:serviceStats", startTime=rfc3339(span[0]), endTime=rfc3339(span[1])
        ),
        [(edges[0], end), *itertools.pairwise(edges)],
    )
    ids = {one["id"]: one.get("displayName") or one["id"] for one in shown.get("deployedModels") or []}
    stewards = _stewards(looking, name)
    return looking.show(
        "endpoint.html",
        words.title(shown),
        endpoint=shown,
        name=name,
        span=span,
        spans={key: value[2] for key, value in _SPANS.items()},
        said=said,
        whole=whole.get("models") or [],
        ids=ids,
        charts=_service(edges, series),
        stewards=stewards,
        tab="",
    )


def _stewards(looking: Looking, endpoint: str) -> list[dict[str, Any]]:
    found = looking.api.listed(f"{looking.parent}/stewards", "stewards")
    return [one for one in found if one["endpoint"] == endpoint]


def _service(edges: Sequence[float], series: list[dict[str, Any]]) -> list[Chart]:
    at = [rfc3339(edge)[:19] for edge in edges[:-1]]
    sums = [[int(m.get("requests", 0)) for m in one.get("models") or []] for one in series]
    requests = [sum(some) for some in sums]
    if not any(requests):
        return []
    failed = [
        sum(int(n) for m in one.get("models") or [] for n in (m.get("errors") or {}).values())
        for one in series
    ]

    def slowest(key: str) -> list[float | None]:
        return [
            max((1000 * m[key] for m in one.get("models") or [] if m.get(key) is not None), default=None)
            for one in series
        ]

    total = sum(requests)
    return [
        Lines(
            "Traffic", "requests", {"requests": (at, requests)}, says=f"{total:,} requests in all."
        ).chart(),
        Lines(
            "Latency",
            "ms",
            {p: (at, slowest(f"{p}Latency")) for p in ("p50", "p95", "p99")},
            says="Of the slowest deployed model, where there are several.",
        ).chart(),
        Lines(
            "Failed requests",
            "requests",
            {"failed": (at, failed)},
            says=f"{sum(failed):,} of {total:,} failed, the caller's mistakes included.",
        ).chart(),
    ]


# --- drift ---


@page(f"{_AT}/{{id}}/drift")
def drift(looking: Looking) -> Response:
    """Each feature as the model learned it, or as the oldest logged predictions had it, beside the newest ones."""
    api, (name, shown) = looking.api, looking.read("endpoints")
    stewards = _stewards(looking, name)
    jobs = [
        j
        for j in api.listed(
            f"/v1/{api.parent}/modelDeploymentMonitoringJobs", "modelDeploymentMonitoringJobs"
        )
        if j.get("endpoint") == name
    ]
    newest = api.listed(f"{name}:searchPredictions", "predictions", pageSize=_DRAWN)
    now = _instances([one for one in newest if one.get("logSource") != "batch"])
    reference, against = _reference(looking, shown, stewards)
    drifted = {
        f["feature"]: f
        for s in stewards
        for f in ((s.get("status") or {}).get("drift") or {}).get("features") or []
    }
    made = []
    for feature in sorted(set(reference) | set(drifted), key=lambda f: (f not in drifted, f)):
        values = [i[feature] for i in now if i.get(feature) is not None]
        chart = _beside(feature, reference.get(feature), values, drifted.get(feature))
        if chart:
            made.append(chart)
    return looking.show(
        "drift.html",
        f"{words.title(shown)}: drift",
        endpoint=shown,
        name=name,
        tab="drift",
        charts=made,
        against=against,
        rows=len(now),
        stewards=stewards,
        jobs=[_monitored(looking, j) for j in jobs],
    )


def _instances(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [json.loads(text) for one in predictions for text in one.get("requestPayload") or []]
    return [one for one in found if isinstance(one, dict)]


def _reference(
    looking: Looking, shown: dict[str, Any], stewards: list[dict[str, Any]]
) -> tuple[dict[str, Any], str]:
    """By feature what the data had that the deployed model learned from, and which data that is."""
    api = looking.api
    for one in shown.get("deployedModels") or []:
        model = api.maybe(f"/v1/{one['model']}@{one.get('modelVersionId', 'default')}")
        pipeline = api.maybe(f"/v1/{model['trainingPipeline']}") if model.get("trainingPipeline") else {}
        dataset = (pipeline.get("inputDataConfig") or {}).get("datasetId", "")
        found = [api.maybe(f"/v1/{looking.parent}/datasets/{dataset}")] if dataset else []
        found += [
            api.maybe(f"/v1/{(s.get('data') or {}).get('dataset')}")
            for s in stewards
            if (s.get("data") or {}).get("dataset")
        ]
        features = set((model.get("metadata") or {}).get("columns") or {})
        for data in found:
            columns = ((data.get("metadata") or {}).get("statistics") or {}).get("columns") or []
            kept = {c["name"]: c for c in columns if not features or c["name"] in features}
            if kept:
                return (
                    kept,
                    f"the dataset {data.get('displayName') or words.short(data['name'])}, which it learned from",
                )
    return {}, ""


def _beside(
    feature: str, column: Mapping[str, Any] | None, values: list[Any], moved: Mapping[str, Any] | None
) -> Chart | None:
    """The distribution that the statistics of a dataset's column tell, beside that of values."""
    if column is None or not values:
        return None
    says = ""
    if moved:
        far, chance = words.number(moved.get("distance")), words.number(moved.get("threshold"))
        says = f"Drifted: distance {far}, up to {chance} is chance. {moved.get('most', '')}"
    if column.get("quantiles"):
        return _numbers(feature, column, values, says)
    if top := column.get("top"):
        return _categories(feature, column, top, values, says)
    return None


def _numbers(feature: str, column: Mapping[str, Any], values: list[Any], says: str) -> Chart | None:
    """In the bins between the quantiles that are known of then, whose shares are known exactly."""
    bins = charts.quantile_bins(column)
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))
        except (TypeError, ValueError):
            continue
    if not bins or not numbers:
        return None
    counts = [0] * len(bins)
    beyond = [0, 0]
    for value in numbers:
        if value < bins[0][0] or value > bins[-1][1]:
            beyond[value > bins[-1][1]] += 1
            continue
        counts[next((at for at, (_, high, _) in enumerate(bins) if value <= high), len(bins) - 1)] += 1
    names = [f"{words.number(low)} – {words.number(high)}" for low, high, _ in bins]
    before, now = [share for _, _, share in bins], [count / len(numbers) for count in counts]
    if beyond[0]:
        names, before, now = ["below", *names], [0.0, *before], [beyond[0] / len(numbers), *now]
    if beyond[1]:
        names, before, now = [*names, "above"], [*before, 0.0], [*now, beyond[1] / len(numbers)]
    mean = sum(numbers) / len(numbers)
    said = f"Mean {words.number(column.get('mean'))} then, {words.number(mean)} now. {says}"
    return charts.distributions(feature, names, before, now, said.strip())


def _categories(
    feature: str, column: Mapping[str, Any], top: Sequence[Any], values: list[Any], says: str
) -> Chart:
    present = max(1, int(column["count"]) - int(column.get("missing", 0)))
    counts = Counter(str(value) for value in values)
    names = [str(name) for name, _ in top[:_BINS]]
    before = [int(count) / present for _, count in top[:_BINS]]
    now = [counts[name] / len(values) for name in names]
    if (rest := 1 - sum(now)) > 0.0005 or len(top) > _BINS:
        names, before, now = [*names, "others"], [*before, max(0.0, 1 - sum(before))], [*now, max(0.0, rest)]
    return charts.distributions(feature, names, before, now, says)


def _monitored(looking: Looking, job: dict[str, Any]) -> dict[str, Any]:
    """A monitoring job with the distance of each feature, window by window."""
    made = []
    for config in job.get("modelDeploymentMonitoringObjectiveConfigs") or []:
        found = looking.api.call(
            "POST",
            f"/v1/{job['name']}:searchModelDeploymentMonitoringStatsAnomalies",
            {
                "deployedModelId": config["deployedModelId"],
                "objectives": [{"type": t} for t in ("RAW_FEATURE_SKEW", "RAW_FEATURE_DRIFT")],
            },
        )
        for stats in found.get("monitoringStats") or []:
            for feature in stats.get("featureStats") or []:
                entries = list(reversed(feature["predictionStats"]))
                kind = (
                    "skew against training"
                    if stats["objective"].endswith("SKEW")
                    else "drift against the window before"
                )
                limit = (feature.get("threshold") or {}).get("value")
                made.append(
                    Lines(
                        f"{feature['featureDisplayName']}: {kind}",
                        "distance",
                        {
                            "distance": (
                                [e["endTime"][:19] for e in entries],
                                [e.get("distributionDeviation") for e in entries],
                            )
                        },
                        limit,
                        "" if limit is None else f"Beyond {words.number(limit)} it is an anomaly.",
                    ).chart()
                )
    return {"job": job, "charts": made}


# --- the log ---


@page(f"{_AT}/{{id}}/log")
def log(looking: Looking) -> Response:
    name, shown = looking.read("endpoints")
    found, more = looking.page_of(f"{name}:searchPredictions", "predictions")
    rows = [
        {"one": one, "instance": instance, "said": _said(answer), "truth": truth}
        for one in found
        for instance, answer, truth in _rows(one)[:_OF_REQUEST]
    ]
    return looking.show(
        "log.html",
        f"{words.title(shown)}: predictions",
        endpoint=shown,
        name=name,
        tab="log",
        rows=rows,
        more=more,
        stats=_stats(looking, name),
    )


def _stats(looking: Looking, name: str) -> dict[str, Any]:
    """How many predictions there are, and how many with their truth; nothing yet where the joining takes long: the page
    has it when it is read again."""
    key = (name, looking.visitor)
    counting = _counting.get(key) or _counting.setdefault(
        key, _asking.submit(looking.api.call, "GET", f"{name}:labelStats")
    )
    try:
        found = counting.result(_PATIENCE)
    except TimeoutError:
        return {}
    except PorticoError:
        _counting.pop(key, None)
        raise
    _counting.pop(key, None)
    return found


def _rows(one: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    instances, answers = one.get("requestPayload") or [], one.get("responsePayload") or []
    truths = one.get("truths") or [None] * len(instances)
    return [(i, answers[at] if at < len(answers) else "", truths[at]) for at, i in enumerate(instances)]


def _said(answer: str) -> str:
    """A logged answer in short: the number, or the likeliest class."""
    try:
        found = json.loads(answer)
    except ValueError:
        return answer
    if isinstance(found, dict):
        if isinstance(found.get("value"), int | float):
            return words.number(found["value"])
        scores, classes = found.get("scores"), found.get("classes")
        if isinstance(scores, list) and isinstance(classes, list) and scores and len(scores) == len(classes):
            best = max(range(len(scores)), key=lambda at: scores[at])
            return f"{classes[best]} ({words.share(scores[best])})"
    return answer if len(answer) < 80 else f"{answer[:79]}…"


# --- try it ---


@page(f"{_AT}/{{id}}/try")
def try_it(looking: Looking) -> Response:
    return _try(looking, {}, None)


@page(f"{_AT}/{{id}}/try", "POST")
def tried(looking: Looking) -> Response:
    """Asks the endpoint with what the form holds, and for an explanation where it can give one."""
    api, name = looking.api, looking.name("endpoints")
    given = {key[2:]: value for key, value in looking.form.items() if key.startswith("f:")}
    fields = _fields(looking, api.call("GET", f"/v1/{name}"))
    kinds = {one["name"]: one["kind"] for one in fields}
    try:
        if raw := looking.form.get("raw", "").strip():
            instance = json.loads(raw)
        else:
            instance = {k: _typed(kinds.get(k, ""), v) for k, v in given.items() if v != ""}
    except ValueError as error:
        return _try(looking, given, {"error": f"The instance is no JSON: {error}."})
    answer, refused = api.tried(lambda: api.call("POST", f"/v1/{name}:predict", {"instances": [instance]}))
    if answer is None:
        return _try(looking, given, {"error": refused.message if refused else ""})
    explained, why_not = api.tried(lambda: api.call("POST", f"/v1/{name}:explain", {"instances": [instance]}))
    prediction = (answer.get("predictions") or [None])[0]
    return _try(
        looking,
        given,
        {
            "prediction": prediction,
            "instance": instance,
            "chart": _explanation(explained) if explained else None,
            "why_not": why_not.message if why_not else "",
            "scores": _scores(prediction),
        },
    )


def _try(looking: Looking, given: Mapping[str, str], result: dict[str, Any] | None) -> Response:
    name, shown = looking.read("endpoints")
    fields = _fields(looking, shown)
    return looking.show(
        "try.html",
        f"{words.title(shown)}: try it",
        endpoint=shown,
        name=name,
        tab="try",
        fields=fields,
        given=given,
        result=result or {},
        raw=looking.form.get("raw", ""),
    )


def _fields(looking: Looking, shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the deployed model takes, with a sensible first value each: the newest logged one, or the data's middle."""
    api = looking.api
    deployed = shown.get("deployedModels") or []
    if not deployed:
        return []
    split = shown.get("trafficSplit") or {}
    one = max(deployed, key=lambda d: int(split.get(d["id"], 0)))
    model = api.maybe(f"/v1/{one['model']}@{one.get('modelVersionId', 'default')}")
    columns: dict[str, str] = (model.get("metadata") or {}).get("columns") or {}
    reference, _ = _reference(looking, dict(shown), [])
    newest = _instances(api.listed(f"{shown['name']}:searchPredictions", "predictions", pageSize=1))
    if not columns and newest:
        columns = {k: "numeric" if isinstance(v, int | float) else "text" for k, v in newest[0].items()}
    made = []
    for name, kind in columns.items():
        about = reference.get(name) or {}
        usual = (about.get("quantiles") or {}).get("0.5", "")
        top = [str(value) for value, _ in about.get("top") or []]
        first = newest[0].get(name) if newest else (usual if usual != "" else (top[0] if top else ""))
        made.append(
            {
                "name": name,
                "kind": kind,
                "first": "" if first is None else first,
                "choices": top[:40] if kind == "categorical" else [],
                "hint": f"{words.number(about['min'])} to {words.number(about['max'])}"
                if kind == "numeric" and "min" in about
                else "",
            }
        )
    return made


def _typed(kind: str, text: str) -> Any:
    if kind != "numeric":
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() and "." not in text and "e" not in text.lower() else value


def _scores(prediction: Any) -> Chart | None:
    if not isinstance(prediction, dict) or not isinstance(prediction.get("scores"), list):
        return None
    shares = dict(zip(map(str, prediction.get("classes") or []), prediction["scores"], strict=False))
    if not shares:
        return None
    best = max(shares, key=lambda name: shares[name])
    return charts.bars(
        "How likely each class is", shares, f"{best} is most likely: {shares[best]:.1%}.", "probability"
    )


def _explanation(explained: Mapping[str, Any]) -> Chart | None:
    some = [a for e in explained.get("explanations") or [] for a in e.get("attributions") or []]
    if not some:
        return None
    one = some[0]
    parts = [
        (f"{name}[{at}]" if isinstance(value, list) else name, float(part))
        for name, value in (one.get("featureAttributions") or {}).items()
        for at, part in enumerate(value if isinstance(value, list) else [value])
        if isinstance(part, int | float)
    ]
    of = one.get("outputDisplayName") or "the answer"
    return charts.waterfall(
        float(one.get("baselineOutputValue", 0)), parts, float(one.get("instanceOutputValue", 0)), str(of)
    )
