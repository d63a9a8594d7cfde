"""Which fields a request must have: a reviewed table, since the documents say it only in prose, and not always
truly. A dotted path reads into messages; an empty string, list or message counts as absent, as in proto3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portico.errors import InvalidArgument, Violation

_L = "projects.locations."

REQUIRED: dict[str, tuple[str, ...]] = {
    f"{_L}datasets.create": ("displayName", "metadataSchemaUri"),
    f"{_L}trainingPipelines.create": ("displayName", "trainingTaskDefinition", "trainingTaskInputs"),
    f"{_L}models.upload": ("model", "model.displayName"),
    f"{_L}models.copy": ("sourceModel",),
    f"{_L}models.export": ("outputConfig",),
    f"{_L}models.mergeVersionAliases": ("versionAliases",),
    f"{_L}models.evaluations.import": ("modelEvaluation",),
    f"{_L}endpoints.create": ("displayName",),
    f"{_L}endpoints.deployModel": ("deployedModel", "deployedModel.model"),
    f"{_L}endpoints.undeployModel": ("deployedModelId",),
    f"{_L}endpoints.mutateDeployedModel": ("deployedModel", "deployedModel.id"),
    f"{_L}modelDeploymentMonitoringJobs.create": (
        "displayName",
        "endpoint",
        "modelDeploymentMonitoringObjectiveConfigs",
        "modelDeploymentMonitoringScheduleConfig",
        "modelDeploymentMonitoringScheduleConfig.monitorInterval",
        "loggingSamplingStrategy",
    ),
    f"{_L}modelDeploymentMonitoringJobs.searchModelDeploymentMonitoringStatsAnomalies": (
        "deployedModelId",
        "objectives",
    ),
    f"{_L}schedules.create": ("maxConcurrentRunCount",),
    f"{_L}batchPredictionJobs.create": ("displayName", "inputConfig", "outputConfig"),
}


def check(method: str, body: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: naming every required field that is missing.
    """
    missing = [path for path in REQUIRED.get(method, ()) if not _given(body, path)]
    if missing:
        raise InvalidArgument(
            "Required fields are missing: " + ", ".join(missing) + ".",
            violations=[Violation(path, "This field is required.") for path in missing],
        )


def _given(body: Mapping[str, Any], path: str) -> bool:
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value not in (None, "", [], {})
