"""A StudySpec, checked when it is asked for: what can't be done is refused then, by the field's name."""

from __future__ import annotations

import re
from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.services.aiplatform.vizier import ending, space

STOPPING = ("decayCurveStoppingSpec", "medianAutomatedStoppingSpec", "convexAutomatedStoppingSpec")
_NOT_BUILT = ("transferLearningConfig", "convexStopConfig")
_MOST = 20  # metrics


def check(spec: dict[str, Any], field: str) -> None:
    """
    Raises:
        InvalidArgument, Unimplemented: naming the field.
    """
    metrics = spec.get("metrics") or []
    if not 1 <= len(metrics) <= _MOST:
        raise InvalidArgument(f"A study needs 1 to {_MOST} metrics.", field=f"{field}.metrics")
    for number, metric in enumerate(metrics):
        where = f"{field}.metrics[{number}]"
        name = metric.get("metricId", "")
        if not name or re.search(r"\s", name):
            raise InvalidArgument(f"{name!r} is no metricId: it has no spaces.", field=f"{where}.metricId")
        if metric.get("goal") not in ("MAXIMIZE", "MINIMIZE"):
            raise InvalidArgument(
                f"Say whether {name!r} is to be MAXIMIZEd or MINIMIZEd.", field=f"{where}.goal"
            )
        if "safetyConfig" in metric:
            raise Unimplemented("Safety metrics are not built in Portico yet.", field=f"{where}.safetyConfig")
    if len({metric["metricId"] for metric in metrics}) < len(metrics):
        raise InvalidArgument("metricIds must be unique.", field=f"{field}.metrics")
    for key in _NOT_BUILT:
        if spec.get(key):
            raise Unimplemented(f"{key} is not built in Portico yet; leave it out.", field=f"{field}.{key}")
    ending.check(spec.get("studyStoppingConfig") or {}, len(metrics), f"{field}.studyStoppingConfig")
    stopping = [key for key in STOPPING if key in spec]
    if len(stopping) > 1:
        raise InvalidArgument("A study has one early stopping spec.", field=f"{field}.{stopping[1]}")
    if stopping and len(metrics) > 1:
        raise InvalidArgument(
            "Only a study of one metric stops trials early.", field=f"{field}.{stopping[0]}"
        )
    grid = spec.get("algorithm") == "GRID_SEARCH"
    space.check(spec.get("parameters") or [], f"{field}.parameters", grid=grid)
