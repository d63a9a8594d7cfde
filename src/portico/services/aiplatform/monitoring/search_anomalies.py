"""What monitoring jobs found: searchModelDeploymentMonitoringStatsAnomalies.

A stat is a column's distance in a window. What is counted as an anomaly is also a share of missing, new or invalid
values above its threshold, for which Google's message has no field. Outputs are shown as raw features, but only to who
asks for them by name ("@prediction", "@prediction:CLASS"): a model has no such features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from portico.clock import interval_of, rfc3339
from portico.errors import InvalidArgument, NotFound
from portico.services.aiplatform.monitoring import words as monitoring_words
from portico.services.aiplatform.monitoring.model_deployment_monitoring_jobs import JOBS
from portico.services.call import Call, implements
from portico.services.standard import pages
from portico.store import windows
from portico.store.windows import StoredWindow

_FOUND: Final = {
    "RAW_FEATURE_SKEW": ("features", "skew"),
    "RAW_FEATURE_DRIFT": ("features", "drift"),
    "FEATURE_ATTRIBUTION_SKEW": ("attributions", "skew"),
    "FEATURE_ATTRIBUTION_DRIFT": ("attributions", "drift"),
}
_Stat = tuple[
    str, dict[str, Any], int
]  # objective, the statistics of a feature, and how many anomalies are in them


@implements("aiplatform", JOBS.method("searchModelDeploymentMonitoringStatsAnomalies"))
def search(call: Call) -> dict[str, Any]:
    name, body = str(call.params["modelDeploymentMonitoringJob"]), call.body
    deployed_id = body["deployedModelId"]
    asked = {o.get("type", ""): int(o.get("topFeatureCount") or 0) for o in body.get("objectives") or []}
    for objective in asked:
        if objective not in _FOUND:
            raise InvalidArgument(
                f"The objective {objective or 'without a type'} is none of {', '.join(_FOUND)}.",
                field="objectives",
            )
    with call.rooms.database.read() as connection:
        job = JOBS.require(connection, name)
        configs = {
            c["deployedModelId"]: c["objectiveConfig"]
            for c in job.body["modelDeploymentMonitoringObjectiveConfigs"]
        }
        if deployed_id not in configs:
            raise NotFound(
                f"{name} does not monitor the deployed model {deployed_id!r}; it does {', '.join(configs)}."
            )
        start, end = interval_of(body)
        found = windows.listed(connection, name, deployed_id, start=start, end=end)
    wanted = body.get("featureDisplayName", "")
    every = [
        (objective, shown, count)
        for objective, most in asked.items()
        for shown, count in _top(list(stats(*_FOUND[objective], wanted, found)), most)
    ]
    some, more = pages.part(every, body, "monitoringStats", name, deployed_id, *asked)
    return {"monitoringStats": grouped(deployed_id, some), **more}


def _top(stats: list[tuple[dict[str, Any], int]], most: int) -> list[tuple[dict[str, Any], int]]:
    """The `most` features with the highest attribution scores in the newest window; all of them where it is 0."""
    if not most:
        return stats
    return sorted(stats, key=lambda stat: -stat[0]["predictionStats"][0].get("score", 0.0))[:most]


def stats(
    group: str, kind: str, wanted: str, found: list[StoredWindow]
) -> Iterator[tuple[dict[str, Any], int]]:
    """The statistics of the feature `wanted` (of each, by name, where it is empty), the newest window first."""
    by_window = [(window, _scores(window.body, group, kind, wanted)) for window in found]
    for name in sorted({name for _, scores in by_window for name in scores}):
        if wanted and name != wanted:
            continue
        results = [(window, scores[name]) for window, scores in by_window if name in scores]
        newest = results[0][1]
        stat: dict[str, Any] = {
            "featureDisplayName": name,
            "threshold": {"value": newest["threshold"]},
            "predictionStats": [_entry(window, result) for window, result in results],
        }
        if group == "attributions" and kind == "skew":
            stat["trainingStats"] = {"score": newest["before"]}
        yield stat, sum(monitoring_words.anomalies_of(result) for _, result in results)


def _scores(window: dict[str, Any], group: str, kind: str, wanted: str) -> dict[str, dict[str, Any]]:
    """By the name that is shown, what a window's body has of a kind; outputs only where they are `wanted`."""
    if group == "attributions":
        return (window.get("attributions") or {}).get(kind) or {}
    columns = dict(window["features"])
    if wanted.startswith("@"):
        from portico.ml.watch.outputs import display_name

        columns |= {
            display_name(name, columns): about for name, about in (window.get("outputs") or {}).items()
        }
    return {name: about[kind] for name, about in columns.items() if kind in about}


def _entry(window: StoredWindow, result: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "distributionDeviation": result["distance"],
        "anomalyDetectionThreshold": result["threshold"],
        "startTime": rfc3339(window.start),
        "endTime": rfc3339(window.end),
    }
    return entry | {"score": result["score"]} if "score" in result else entry


def grouped(deployed_id: str, found: Sequence[_Stat]) -> list[dict[str, Any]]:
    """As ModelMonitoringStatsAnomalies; a batch prediction job has no deployed model ("")."""
    return [
        {
            "objective": objective,
            **({"deployedModelId": deployed_id} if deployed_id else {}),
            "anomalyCount": sum(count for of, _, count in found if of == objective),
            "featureStats": [feature for of, feature, _ in found if of == objective],
        }
        for objective in dict.fromkeys(of for of, _, _ in found)
    ]
