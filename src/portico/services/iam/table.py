"""Which permissions a method checks. What Google publishes, what follows from the method's name, and, reviewed by hand,
the exceptions below."""

from __future__ import annotations

import functools
import re
from typing import Final

from portico.services.iam import facts

_VERBS: Final = {"insert": "create", "patch": "update"}
_PREFIX: Final = {
    "cloudresourcemanager": "resourcemanager",
    "bigquerystorage": "bigquery",
    "bigqueryconnection": "bigquery",
    "iamcredentials": "iam",
    "billingbudgets": "billing",
}

NONE: Final[tuple[str, ...]] = ()
"""Whoever is known may ask: the answer tells of a caller's own permissions, or of nothing that is anybody's."""

# A pattern of method ids of an API, and what replaces the rest of the rules. The first that fits counts.
_EXCEPTIONS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "aiplatform": (
        # Operations have no permissions of their own there: who may see a resource may see its operations.
        (r"(.*\.)?operations\.(get|list|wait)", ("aiplatform.{above}.get",)),
        (r"(.*\.)?operations\.(cancel|delete)", ("aiplatform.{above}.update",)),
        (r".*\.datasetVersions\.patch", ("aiplatform.datasets.update",)),
        (r".*\.datasets\.searchDataItems", ("aiplatform.dataItems.list", "aiplatform.annotations.list")),
        (r".*\.savedQueries\.list", ("aiplatform.datasets.get",)),
        (r".*\.savedQueries\.delete", ("aiplatform.datasets.update",)),
        (r".*\.endpoints\.mutateDeployedModel", ("aiplatform.endpoints.deploy",)),
        (r".*\.endpoints\.(directPredict|directRawPredict|serverStreamingPredict|streamRawPredict|predictLongRunning"
         r"|fetchPredictOperation|computeTokens|countTokens|generateContent|streamGenerateContent)",
         ("aiplatform.endpoints.predict",)),
        (r".*\.(artifacts|contexts|executions)\.purge", ("aiplatform.{collection}.delete",)),
        (r".*\.artifacts\.queryArtifactLineageSubgraph", ("aiplatform.artifacts.get",)),
        (r".*\.contexts\.removeContextChildren", ("aiplatform.contexts.addContextChildren",)),
        (r".*\.models\.copy", ("aiplatform.models.upload",)),
        (r".*\.models\.deleteVersion", ("aiplatform.models.delete",)),
        (r".*\.models\.mergeVersionAliases", ("aiplatform.models.update",)),
        (r".*\.models\.(listVersions|listCheckpoints)", ("aiplatform.models.get",)),
        (r".*\.evaluations\.batchImportSlices", ("aiplatform.modelEvaluationSlices.import",)),
        (r".*\.evaluations\.slices\.batchImport", ("aiplatform.modelEvaluationSlices.import",)),
        (r".*\.evaluations\.slices\.(get|list)", ("aiplatform.modelEvaluationSlices.{verb}",)),
        (r".*\.models\.evaluations\.(get|list|import)", ("aiplatform.modelEvaluations.{verb}",)),
        (r".*\.persistentResources\.(patch|reboot)", ("aiplatform.persistentResources.create",)),
        (r".*\.pipelineJobs\.batch(Cancel|Delete)", ("aiplatform.pipelineJobs.{rest}",)),
        (r".*\.schedules\.(pause|resume)", ("aiplatform.schedules.update",)),
        (r".*\.studies\.lookup", ("aiplatform.studies.list",)),
        (r".*\.trials\.(addTrialMeasurement|complete|stop)", ("aiplatform.trials.update",)),
        (r".*\.trials\.suggest", ("aiplatform.trials.create",)),
        (r".*\.trials\.checkTrialEarlyStoppingState", ("aiplatform.trials.get",)),
        (r".*\.trials\.listOptimalTrials", ("aiplatform.trials.list",)),
        (r".*\.tensorboards\.batchRead", ("aiplatform.tensorboardTimeSeries.batchRead",)),
        (r".*\.tensorboards\.(readSize|readUsage)", ("aiplatform.tensorboards.get",)),
        (r".*\.experiments\.batchCreate", ("aiplatform.tensorboardTimeSeries.batchCreate",)),
        (r".*\.tensorboards\.experiments\.(\w+)", ("aiplatform.tensorboardExperiments.{verb}",)),
        (r".*\.experiments\.runs\.(\w+)", ("aiplatform.tensorboardRuns.{verb}",)),
        (r".*\.timeSeries\.(exportTensorboardTimeSeries|read\w*)", ("aiplatform.tensorboardTimeSeries.read",)),
        (r".*\.runs\.timeSeries\.(\w+)", ("aiplatform.tensorboardTimeSeries.{verb}",)),
    ),
    "artifactregistry": (
        (r".*\.operations\.get", ("artifactregistry.repositories.get",)),
        (r".*\.operations\.cancel", ("artifactregistry.repositories.update",)),
    ),
    "bigquery": (
        (r"datasets\.list", ("bigquery.datasets.get",)),
        (r"datasets\.undelete", ("bigquery.datasets.create",)),
        (r"jobs\.(query|insert)", ("bigquery.jobs.create",)),  # what a job reads and writes is checked by itself
        (r"jobs\.(get|getQueryResults)", ("bigquery.jobs.get",)),
        (r"jobs\.list", ("bigquery.jobs.list",)),
        (r"jobs\.cancel", ("bigquery.jobs.update",)),
        (r"projects\.list", NONE),
        (r"projects\.getServiceAccount", ("resourcemanager.projects.get",)),
        (r"routines\.getIamPolicy", ("bigquery.routines.get",)),
        (r"routines\.setIamPolicy", ("bigquery.tables.setIamPolicy",)),
        (r"routines\.update", ("bigquery.routines.update",)),
        (r"models\.patch", ("bigquery.models.updateMetadata",)),
        (r"tabledata\.list", ("bigquery.tables.getData",)),
        (r"tabledata\.insertAll", ("bigquery.tables.updateData",)),
        (r"tables\.(patch|update)", ("bigquery.tables.update",)),
    ),
    "bigquerystorage": (
        (r"BigQueryRead\.CreateReadSession", ("bigquery.readsessions.create",)),
        (r"BigQueryRead\..*", ("bigquery.readsessions.getData",)),
        (r"BigQueryWrite\..*", ("bigquery.tables.updateData",)),
    ),
    "cloudresourcemanager": (
        (r"operations\.get", NONE),
        (r"projects\.(list|search)", NONE),  # of those that the caller may get
        (r"(tagBindings|effectiveTags)\.list", NONE),  # but what `checks` asks of what has the tags
        (r"tag(Keys|Values)\.getNamespaced", ("resourcemanager.{collection}.get",)),
    ),
    "iam": (
        (r"roles\.(get|list|queryGrantableRoles)", NONE),  # Google's own
        (r"permissions\.queryTestablePermissions", NONE),
    ),
    "logging": (
        (r"(.*\.)?entries\.(list|tail)", ("logging.logEntries.list",)),
        (r"(.*\.)?entries\.write", ("logging.logEntries.create",)),
    ),
    "mlflow": (
        (r"server\..*", NONE),
        (r"(registered-models|model-versions)\.create\w*", ("aiplatform.models.upload",)),
        (r"(registered-models|model-versions)\.delete(RegisteredModel|ModelVersion)", ("aiplatform.models.delete",)),
        (r"(registered-models|model-versions)\.(get|search)\w*", ("aiplatform.models.get",)),
        (r"(registered-models|model-versions)\..*", ("aiplatform.models.update",)),
        (r"mlflow-artifacts\.(download|list|get)\w*|artifacts\..*", ("aiplatform.artifacts.get",)),
        (r"mlflow-artifacts\.delete\w*", ("aiplatform.artifacts.delete",)),
        (r"mlflow-artifacts\..*", ("aiplatform.artifacts.create",)),
        (r"(\S+)\.(get|search|list)\w*", ("aiplatform.contexts.get",)),
        (r"(experiments|runs|logged-models)\.create\w*", ("aiplatform.contexts.create",)),
        (r"(experiments|runs|logged-models)\.delete(Experiment|Run|LoggedModel)", ("aiplatform.contexts.delete",)),
        (r".*", ("aiplatform.contexts.update",)),
    ),
    "pubsub": (
        (r".*\.topics\.(subscriptions|snapshots)\.list", ("pubsub.topics.get",)),
        (r".*\.subscriptions\.(pull|acknowledge|modifyAckDeadline|seek)|Subscriber\.StreamingPull",
         ("pubsub.subscriptions.consume",)),
        (r".*\.subscriptions\.modifyPushConfig", ("pubsub.subscriptions.update",)),
        (r".*\.subscriptions\.detach", ("pubsub.topics.detachSubscription",)),
        (r".*\.patch", ("pubsub.{collection}.update",)),
        (r".*\.schemas\.validateMessage", ("pubsub.schemas.validate",)),
    ),
    "policytroubleshooter": ((r".*", ("resourcemanager.projects.getIamPolicy",)),),
    "portico": (
        (r".*\.operations\.(get|list|wait)", ("portico.{above}.get",)),
        (r".*\.operations\.(cancel|delete)", ("portico.{above}.update",)),
    ),
    "storage": (
        (r"buckets\.(get|list)", ("storage.buckets.{verb}",)),
        (r"buckets\.(patch|update|lockRetentionPolicy)", ("storage.buckets.update",)),
        (r"buckets\.getStorageLayout", ("storage.objects.list",)),
        (r"objects\.(get|list)", ("storage.objects.{verb}",)),
        (r"objects\.insert", ("storage.objects.create",)),  # and delete, where there is one: see `checks`
        (r"objects\.(patch|update)", ("storage.objects.update",)),
        (r"objects\.(compose|copy|rewrite|move)", ("storage.objects.create",)),  # and get of the source
        (r"objects\.restore", ("storage.objects.restore", "storage.objects.create")),
        (r"projects\.serviceAccount\.get", ("resourcemanager.projects.get",)),
    ),
}  # fmt: skip

# What Google has no permission for, or none that is published; each with one that stands for it: whose roles hold that,
# hold this too.
ADDED: Final = {
    "aiplatform.operations.get": "aiplatform.operations.list",
    "aiplatform.operations.update": "aiplatform.customJobs.cancel",
    **{f"aiplatform.{of}.{verb}IamPolicy": f"aiplatform.endpoints.{verb}IamPolicy"
       for of in ("models", "datasets") for verb in ("get", "set")},
    **{f"aiplatform.{of}.update": f"aiplatform.{of}.create" for of in (
        "batchPredictionJobs", "customJobs", "hyperparameterTuningJobs", "pipelineJobs", "trainingPipelines", "nasJobs",
        "tuningJobs", "migratableResources", "persistentResources", "dataLabelingJobs")},
    "portico.projects.queryUsage": "resourcemanager.projects.get",
    **{f"portico.{of}.{verb}": "aiplatform.models.update"
       for of, verbs in {
           "alerts": "silence", "customJobs": "rerun", "trainingPipelines": "rerun",
           "endpoints": "addLabels importLabels update", "episodes": "approve reject rollBack",
           "stewards": "create update delete pause resume", "triggers": "create update delete"}.items()
       for verb in verbs.split()},
    **{f"portico.{of}.{verb}": "aiplatform.models.get"
       for of, verbs in {
           "alerts": "get list", "customJobs": "getRerun", "trainingPipelines": "getRerun", "runs": "get list",
           "endpoints": "labelStats searchPredictions serviceStats get", "episodes": "get list replay",
           "stewards": "get list", "triggers": "get list"}.items()
       for verb in verbs.split()},
}  # fmt: skip
# Of the whole server, of no project: its owner's alone.
ROOT: Final = frozenset(
    f"billing.budgets.{verb}" for verb in ("create", "delete", "get", "list", "update")
) | frozenset(
    f"portico.{one}" for one in (
        "audit.export", "audit.verify", "clock.get", "clock.advance", "home.get", "jobs.get", "jobs.list",
        "jobs.readLog", "groups.create", "groups.list", "groups.get", "groups.delete", "groups.addMember",
        "groups.removeMember", "users.create", "users.list", "users.get", "users.delete",
        "users.enable", "users.disable", "users.createToken", "users.setPassword", "oidc.get", "oidc.set",
        "oidc.delete",
    )
)  # fmt: skip

_COMPILED: Final = {
    api: [(re.compile(pattern), of) for pattern, of in rules] for api, rules in _EXCEPTIONS.items()
}


@functools.cache
def permissions_of(api: str, method: str) -> tuple[str, ...]:
    """All of these a caller needs; `NONE` where whoever is known may ask."""
    collection, _, verb = method.rpartition(".")
    if verb == "testIamPermissions":
        return NONE
    *before, collection = collection.split(".")
    above = before[-1] if before else ""
    for pattern, of in _COMPILED.get(api, ()):
        if pattern.fullmatch(method):
            named = {
                "collection": collection, "above": above, "verb": _VERBS.get(verb, verb),
                "rest": verb.removeprefix("batch").lower(),
            }  # fmt: skip
            return tuple(_known(one.format(**named)) for one in of)
    published = facts.of_method(api, method) or facts.of_method(api, f"projects.{method}")
    if published is not None:
        return published
    return (f"{_PREFIX.get(api, api)}.{collection}.{_VERBS.get(verb, verb)}",)


def _known(permission: str) -> str:
    """For operations below what has no permissions: those of operations."""
    service, _, verb = permission.split(".")
    return permission if permission in known() else f"{service}.operations.{verb}"


@functools.cache
def known() -> frozenset[str]:
    """Every permission that a method that is built checks."""
    return facts.permissions() | ADDED.keys() | ROOT
