"""The schemas that every metadata store has: Google's system.* and google.*, with the properties that they name."""

from __future__ import annotations

import re
from typing import Final, Literal

SchemaType = Literal["ARTIFACT_TYPE", "EXECUTION_TYPE", "CONTEXT_TYPE"]

_RESOURCE: Final = {"resourceName": "string"}
_MODEL: Final = {"framework": "string", "framework_version": "string", "payload_format": "string"}
_METRICS: Final = {"accuracy": "number", "precision": "number", "recall": "number", "f1score": "number",
                   "mean_absolute_error": "number", "mean_squared_error": "number"}  # fmt: skip
_CLASSIFICATION: Final = {"aggregationType": "string", "aggregationThreshold": "number", "recall": "number",
                          "precision": "number", "f1_score": "number", "accuracy": "number", "auPrc": "number",
                          "auRoc": "number", "logLoss": "number", "confusionMatrix": "object",
                          "confidenceMetrics": "array"}  # fmt: skip
_REGRESSION: Final = {"rootMeanSquaredError": "number", "meanAbsoluteError": "number",
                      "meanAbsolutePercentageError": "number", "rSquared": "number",
                      "rootMeanSquaredLogError": "number"}  # fmt: skip
_TABLE: Final = {"projectId": "string", "datasetId": "string", "tableId": "string"}

_ARTIFACTS: Final[dict[str, dict[str, str]]] = {
    "system.Artifact": {},
    "system.Dataset": {"payload_format": "string", "container_format": "string"},
    "system.Model": _MODEL,
    "system.Metrics": _METRICS,
    "system.ClassificationMetrics": {},
    "system.SlicedClassificationMetrics": {},
    "system.HTML": {},
    "system.Markdown": {},
    "system.Checkpoint": {},
    "google.VertexDataset": _RESOURCE,
    "google.VertexModel": _RESOURCE,
    "google.VertexEndpoint": _RESOURCE,
    "google.VertexBatchPredictionJob": _RESOURCE,
    "google.VertexHyperparameterTuningJob": _RESOURCE,
    "google.VertexTensorboardRun": _RESOURCE,
    "google.VertexPipelineJob": _RESOURCE,
    "google.UnmanagedContainerModel": {"predictSchemata": "object", "containerSpec": "object"},
    "google.BQTable": _TABLE,
    "google.BQMLModel": {"projectId": "string", "datasetId": "string", "modelId": "string"},
    "google.ClassificationMetrics": _CLASSIFICATION,
    "google.RegressionMetrics": _REGRESSION,
    "google.ForecastingMetrics": {**_REGRESSION, "weightedAbsolutePercentageError": "number"},
    "google.ExperimentModel": {"frameworkName": "string", "frameworkVersion": "string", "modelFile": "string",
                               "modelClass": "string", "predictSchemata": "object"},
}  # fmt: skip
_EXECUTIONS: Final = ("system.ContainerExecution", "system.CustomJobExecution", "system.DagExecution",
                      "system.ImporterExecution", "system.ResolverExecution", "system.Run")  # fmt: skip
_CONTEXTS: Final = ("system.Experiment", "system.ExperimentRun", "system.Pipeline", "system.PipelineRun")

SCHEMAS_OF_ALL: Final[dict[str, tuple[SchemaType, dict[str, str]]]] = {
    **{title: ("ARTIFACT_TYPE", properties) for title, properties in _ARTIFACTS.items()},
    **{title: ("EXECUTION_TYPE", {}) for title in _EXECUTIONS},
    **{title: ("CONTEXT_TYPE", {}) for title in _CONTEXTS},
}
"""Title -> its type and its properties."""


def schema_id(title: str) -> str:
    """As Google names them: google.VertexModel is google-vertex-model-v0-0-1."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", title)
    return "-".join(word.lower() for word in words) + "-v0-0-1"
