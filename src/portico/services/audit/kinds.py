"""What kind of access a method is, as Cloud Audit Logs tell them apart, and what they call it.

https://cloud.google.com/logging/docs/audit, https://cloud.google.com/vertex-ai/docs/general/audit-logging
"""

from __future__ import annotations

import re
from typing import Final, Literal

Kind = Literal["ADMIN_READ", "ADMIN_WRITE", "DATA_READ", "DATA_WRITE"]
"""The log types of an AuditLogConfig. Google has no name for ADMIN_WRITE, which is always written."""

# Methods by POST that change nothing, by their last name.
_READS = re.compile(
    r"(batchRead|check|count|download|explain|export|fetch|get|list|lookup|predict|query|rawPredict|read|replay|search"
    r"|streamRawPredict|directRawPredict|directPredict|test|validate|wait)([A-Z].*)?"
)
_READS_BY_POST = (
    "entries.list",
    "labelStats",
    "serviceStats",
    "generateAccessToken",
    "generateIdToken",
    "signBlob",
)
# What is data, not configuration: whole methods of an API.
_DATA: Final = {
    "aiplatform": r"tensorboards\.experiments\..*|tensorboards\.batchRead|endpoints\.(predict|explain).*"
    r"|endpoints\.(rawPredict|streamRawPredict|directRawPredict|directPredict)|studies\.trials\..*|metadataStores\.(artifacts|executions|contexts)\..*",
    "artifactregistry": r"repositories\.kfpArtifacts\..*|repositories\.packages\..*",
    "bigquery": r"jobs\..*|tabledata\..*|projects\.getServiceAccount",
    "bigquerystorage": r".*",
    "iamcredentials": r".*",
    "logging": r"entries\..*",
    "mlflow": r"(runs|metrics|artifacts|mlflow-artifacts|logged-models)\..*|experiments\.search.*",
    "pubsub": r"topics\.publish|subscriptions\.(pull|acknowledge|modifyAckDeadline)|Subscriber\.StreamingPull",
    "portico": r"endpoints\..*|jobs\..*|home\..*",
    "storage": r"objects\..*",
}
_CLASSES = {
    api: re.compile(rf"(projects\.locations\.|projects\.)?({pattern})") for api, pattern in _DATA.items()
}


def kind_of(api: str, method: str, http: str) -> Kind:
    """`method` is the id in the API's document without the API's name."""
    last = method.rpartition(".")[2]
    ending = ".".join(method.rsplit(".", 2)[-2:])
    reads = (
        http == "GET" or bool(_READS.fullmatch(last)) or last in _READS_BY_POST or ending in _READS_BY_POST
    )
    found = _CLASSES.get(api)
    if found is not None and found.fullmatch(method):
        return "DATA_READ" if reads else "DATA_WRITE"
    return "ADMIN_READ" if reads else "ADMIN_WRITE"


# The services of Vertex AI's methods, by collection: the logs name methods as gRPC does.
_VERTEX = {
    "batchPredictionJobs": "JobService", "customJobs": "JobService", "datasets": "DatasetService",
    "datasetVersions": "DatasetService", "endpoints": "EndpointService", "evaluations": "ModelService",
    "hyperparameterTuningJobs": "JobService", "metadataStores": "MetadataService", "artifacts": "MetadataService",
    "contexts": "MetadataService", "executions": "MetadataService", "metadataSchemas": "MetadataService",
    "modelDeploymentMonitoringJobs": "JobService", "modelMonitors": "ModelMonitoringService",
    "modelMonitoringJobs": "ModelMonitoringService", "models": "ModelService",
    "persistentResources": "PersistentResourceService", "pipelineJobs": "PipelineService",
    "schedules": "ScheduleService", "slices": "ModelService", "studies": "VizierService", "trials": "VizierService",
    "tensorboards": "TensorboardService", "experiments": "TensorboardService", "runs": "TensorboardService",
    "timeSeries": "TensorboardService", "trainingPipelines": "PipelineService",
}  # fmt: skip
_BIGQUERY = {
    "datasets": "DatasetService", "jobs": "JobService", "models": "ModelService", "routines": "RoutineService",
    "rowAccessPolicies": "RowAccessPolicyService", "tabledata": "TableDataService", "tables": "TableService",
}  # fmt: skip

_PUBSUB = {
    "topics": "Publisher", "subscriptions": "Subscriber", "snapshots": "Subscriber", "schemas": "SchemaService",
}  # fmt: skip


def method_name(api: str, version: str, method: str) -> str:
    """`methodName` of an AuditLog: "google.cloud.aiplatform.v1.ModelService.DeleteModel"."""
    collection, _, verb = method.rpartition(".")
    collection = collection.rpartition(".")[2]
    if api == "aiplatform" and collection in _VERTEX:
        return f"google.cloud.aiplatform.{version}.{_VERTEX[collection]}.{_rpc(collection, verb)}"
    if api == "bigquery" and collection in _BIGQUERY:
        return f"google.cloud.bigquery.{version}.{_BIGQUERY[collection]}.{_rpc(collection, verb)}"
    if api == "pubsub" and collection in _PUBSUB:
        return f"google.pubsub.{version}.{_PUBSUB[collection]}.{_rpc(collection, verb)}"
    return f"{api}.{method}"


def _rpc(collection: str, verb: str) -> str:
    """("models", "delete") is DeleteModel; ("endpoints", "deployModel") is DeployModel."""
    noun = _singular(collection)
    name = verb[0].upper() + verb[1:]
    if verb in ("patch", "update"):
        return f"Update{noun}"
    if verb in ("list", "batchCancel", "batchCreate", "batchDelete", "purge"):
        return (
            f"{name}{noun[:-1] + 'ies' if noun.endswith('y') else noun + ('' if noun.endswith('s') else 's')}"
        )
    return name if re.search(r"[A-Z]", verb) else f"{name}{noun}"


def _singular(collection: str) -> str:
    word = collection[0].upper() + collection[1:]
    if word.endswith("ies") and word != "TimeSeries":
        return word[:-3] + "y"
    return word if word in ("TimeSeries", "Tabledata") else word[:-1]
