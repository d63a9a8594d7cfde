"""Whether a study is over by its `studyStoppingConfig`: asked before a new trial is suggested, as its document says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from portico.clock import duration_seconds, parse_rfc3339
from portico.errors import InvalidArgument, Unimplemented
from portico.services.aiplatform.vizier import measurements

_COUNTS = ("minNumTrials", "maxNumTrials", "maxNumTrialsNoProgress")
_SINGLE = ("maxNumTrialsNoProgress", "maxDurationNoProgress")
_ENDED = ("SUCCEEDED", "INFEASIBLE")

Trial = Mapping[str, Any]


def check(config: Mapping[str, Any], metrics: int, field: str) -> None:
    """Checks the config of a study that has so many metrics.

    Raises:
        InvalidArgument, Unimplemented: naming the field.
    """
    if config.get("shouldStopAsap"):
        raise Unimplemented(
            "Trials that run are not ended with their study in Portico yet: they go on to their end.",
            field=f"{field}.shouldStopAsap",
        )
    for name in _COUNTS:
        if int(config.get(name) or 0) < 0:
            raise InvalidArgument(f"{name} is not negative.", field=f"{field}.{name}")
    for name in _SINGLE if metrics > 1 else ():
        if config.get(name):
            raise InvalidArgument(f"{name} is for a study of one metric.", field=f"{field}.{name}")


def is_over(spec: Mapping[str, Any], trials: Sequence[Trial], created: float, now: float) -> bool:
    """Whether no more trials are to be suggested, by the first rule that applies; times in seconds since the epoch."""
    config = spec.get("studyStoppingConfig") or {}
    ended = [one for one in trials if one["state"] in _ENDED]
    least, most = config.get("minimumRuntimeConstraint"), config.get("maximumRuntimeConstraint")
    if not config or (least and not _passed(least, created, now)):
        return False
    if len(ended) < int(config.get("minNumTrials") or 0):
        return False
    if most and _passed(most, created, now):
        return True
    if (count := int(config.get("maxNumTrials") or 0)) and len(trials) >= count:
        return True
    patience, wait = int(config.get("maxNumTrialsNoProgress") or 0), config.get("maxDurationNoProgress")
    if not (patience or wait):
        return False
    since, last = _progress(spec, ended, created)
    return bool(patience and since >= patience) or bool(wait and now - last >= duration_seconds(wait))


def _passed(constraint: Mapping[str, Any], created: float, now: float) -> bool:
    if end := constraint.get("endTime"):
        return now >= parse_rfc3339(end)
    return now - created >= duration_seconds(constraint.get("maxDuration") or "0s")


def _progress(spec: Mapping[str, Any], ended: Sequence[Trial], created: float) -> tuple[int, float]:
    """How many trials have ended since one was better than all before it, and when that ended."""
    since, last, best = 0, created, None
    for trial in sorted(ended, key=lambda one: parse_rfc3339(one["endTime"])):
        since += 1
        if trial["state"] == "SUCCEEDED":
            score = measurements.scores(trial["finalMeasurement"], spec)
            if best is None or score > best:
                since, last, best = 0, parse_rfc3339(trial["endTime"]), score
    return since, last
