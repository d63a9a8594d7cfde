"""What monitoring compares with, and from which distance on it is an anomaly: checks that all its kinds share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from portico.errors import InvalidArgument
from portico.services.standard import bq

SKEW: Final = "trainingPredictionSkewDetectionConfig"
DRIFT: Final = "predictionDriftDetectionConfig"


def check_threshold(told: Mapping[str, Any], key: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: `told[key]` is no distance.
    """
    if not 0 <= float(told.get(key, 0.0)) <= 1:
        raise InvalidArgument(f"The threshold {told[key]} is not in 0 to 1.", field=f"{field}.{key}")


def check_thresholds(part: Mapping[str, Any], field: str) -> None:
    """Of a v1 skew or drift config.

    Raises:
        InvalidArgument: one is no distance.
    """
    for key, value in part.items():
        named = {"": value} if key.startswith("default") else value
        for threshold in named.values():
            check_threshold(threshold, "value", f"{field}.{key}")


def check_training(data: Mapping[str, Any], field: str) -> None:
    """Of a v1 trainingDataset, which skew needs.

    Raises:
        InvalidArgument: it names no data.
    """
    if uri := (data.get("bigquerySource") or {}).get("inputUri"):
        bq.parse(uri, f"{field}.bigquerySource.inputUri")
    elif not (data.get("dataset") or (data.get("gcsSource") or {}).get("uris")):
        raise InvalidArgument(
            "Skew needs the training data: dataset, gcsSource.uris or bigquerySource.inputUri.", field=field
        )
