"""Which fields a request must have: a reviewed table, since the documents say it only in prose, and not always truly
(see `Api.required`)."""

from __future__ import annotations

_L = "projects.locations."
_RUNS = f"{_L}tensorboards.experiments.runs"

REQUIRED: dict[str, tuple[str, ...]] = {
    f"{_L}datasets.create": ("displayName", "metadataSchemaUri"),
    f"{_L}datasets.export": ("exportConfig",),
    f"{_L}datasets.import": ("importConfigs",),
    f"{_L}customJobs.create": ("displayName", "jobSpec"),
    f"{_L}hyperparameterTuningJobs.create": (
        "displayName",
        "studySpec",
        "maxTrialCount",
        "parallelTrialCount",
        "trialJobSpec",
    ),
    f"{_L}trainingPipelines.create": ("displayName", "trainingTaskDefinition"),
    f"{_L}models.upload": ("model", "model.displayName"),
    f"{_L}models.copy": ("sourceModel",),
    f"{_L}models.export": ("outputConfig",),
    f"{_L}models.mergeVersionAliases": ("versionAliases",),
    f"{_L}models.evaluations.import": ("modelEvaluation",),
    f"{_L}models.evaluations.batchImportSlices": ("modelEvaluationSlices",),
    f"{_L}deploymentResourcePools.create": ("deploymentResourcePool", "deploymentResourcePoolId"),
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
    f"{_L}pipelineJobs.batchCancel": ("names",),
    f"{_L}pipelineJobs.batchDelete": ("names",),
    f"{_L}schedules.create": ("maxConcurrentRunCount",),
    f"{_L}tensorboards.create": ("displayName",),
    f"{_RUNS}.create": ("displayName",),
    f"{_RUNS}.batchCreate": ("requests",),
    f"{_RUNS}.write": ("timeSeriesData",),
    f"{_RUNS}.timeSeries.create": ("displayName", "valueType"),
    f"{_L}tensorboards.experiments.batchCreate": ("requests",),
    f"{_L}tensorboards.experiments.write": ("writeRunDataRequests",),
    f"{_L}metadataStores.metadataSchemas.create": ("schema",),
    f"{_L}metadataStores.artifacts.purge": ("filter",),
    f"{_L}metadataStores.executions.purge": ("filter",),
    f"{_L}metadataStores.contexts.purge": ("filter",),
    f"{_L}studies.create": ("displayName", "studySpec"),
    f"{_L}studies.lookup": ("displayName",),
    f"{_L}studies.trials.suggest": ("suggestionCount",),
    f"{_L}studies.trials.addTrialMeasurement": ("measurement",),
    f"{_L}batchPredictionJobs.create": ("displayName", "inputConfig", "outputConfig"),
}
