"""What a batch prediction job may ask of monitoring: one comparison of its input with training data, as Google's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portico.errors import InvalidArgument
from portico.services.aiplatform.thresholds import DRIFT, SKEW, check_thresholds, check_training
from portico.store.gcs import parse_uri

_FIELD = "modelMonitoringConfig"


def check(config: Mapping[str, Any]) -> None:
    """Of a `ModelMonitoringConfig`.

    Raises:
        InvalidArgument: naming the field.
    """
    objectives = config.get("objectiveConfigs") or []
    if len(objectives) != 1:
        raise InvalidArgument(
            f"A batch prediction job has one objective config; {len(objectives)} are given.",
            field=f"{_FIELD}.objectiveConfigs",
        )
    objective, field = objectives[0], f"{_FIELD}.objectiveConfigs[0]"
    for part, what in ((DRIFT, "drift"), ("explanationConfig", "attributions")):
        if objective.get(part):
            raise InvalidArgument(
                f"Batch predictions are monitored for skew of features alone, not for {what}; leave {part} out.",
                field=f"{field}.{part}",
            )
    if SKEW not in objective:
        raise InvalidArgument(
            f"{SKEW} is missing: what is compared with training data.", field=f"{field}.{SKEW}"
        )
    if objective[SKEW].get(key := "attributionScoreSkewThresholds"):
        raise InvalidArgument(
            f"Attributions of batch predictions are not monitored; leave {key} out.",
            field=f"{field}.{SKEW}.{key}",
        )
    check_thresholds(objective[SKEW], f"{field}.{SKEW}")
    check_training(objective.get("trainingDataset") or {}, f"{field}.trainingDataset")
    if base := (config.get("statsAnomaliesBaseDirectory") or {}).get("outputUriPrefix"):
        parse_uri(base)
    if schema := config.get("analysisInstanceSchemaUri"):
        parse_uri(schema)
