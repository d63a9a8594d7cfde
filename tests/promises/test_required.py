"""The reviewed table of required fields, beside the contract and beside what Google's own client documents."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import requests

from portico.doors.contract.documents import Contract
from portico.services.aiplatform.required import REQUIRED
from portico.services.standard.fields import camel

# Documented as required, and yet not in the table: (message, field) and why.
NOT_ASKED = {
    ("SuggestTrialsRequest", "clientId"): "Google's own notebook leaves it out",
    ("Dataset", "metadata"): "the service says what in it is missing",
    ("TrainingPipeline", "trainingTaskInputs"): "the service asks for them, where what is trained is built",
    ("MutateDeployedModelRequest", "updateMask"): "the fields that are given are taken",
    ("Schedule", "displayName"): "the client's ModelMonitor.create_schedule may leave it out",
}
# What the body of each method is.
BODIES = {
    "datasets.create": "Dataset",
    "datasets.export": "ExportDataRequest",
    "datasets.import": "ImportDataRequest",
    "customJobs.create": "CustomJob",
    "pipelineJobs.batchCancel": "BatchCancelPipelineJobsRequest",
    "pipelineJobs.batchDelete": "BatchDeletePipelineJobsRequest",
    "trainingPipelines.create": "TrainingPipeline",
    "models.upload": "UploadModelRequest",
    "models.copy": "CopyModelRequest",
    "models.export": "ExportModelRequest",
    "models.mergeVersionAliases": "MergeVersionAliasesRequest",
    "models.evaluations.import": "ImportModelEvaluationRequest",
    "models.evaluations.batchImportSlices": "BatchImportModelEvaluationSlicesRequest",
    "deploymentResourcePools.create": "CreateDeploymentResourcePoolRequest",
    "endpoints.create": "Endpoint",
    "endpoints.deployModel": "DeployModelRequest",
    "endpoints.undeployModel": "UndeployModelRequest",
    "endpoints.mutateDeployedModel": "MutateDeployedModelRequest",
    "batchPredictionJobs.create": "BatchPredictionJob",
    "schedules.create": "Schedule",
    "metadataStores.metadataSchemas.create": "MetadataSchema",
    "metadataStores.artifacts.purge": "PurgeArtifactsRequest",
    "metadataStores.executions.purge": "PurgeExecutionsRequest",
    "metadataStores.contexts.purge": "PurgeContextsRequest",
    "hyperparameterTuningJobs.create": "HyperparameterTuningJob",
    "studies.create": "Study",
    "studies.lookup": "LookupStudyRequest",
    "studies.trials.suggest": "SuggestTrialsRequest",
    "studies.trials.addTrialMeasurement": "AddTrialMeasurementRequest",
    "modelDeploymentMonitoringJobs.create": "ModelDeploymentMonitoringJob",
    "tensorboards.create": "Tensorboard",
    "tensorboards.experiments.batchCreate": "BatchCreateTensorboardTimeSeriesRequest",
    "tensorboards.experiments.write": "WriteTensorboardExperimentDataRequest",
    "tensorboards.experiments.runs.create": "TensorboardRun",
    "tensorboards.experiments.runs.batchCreate": "BatchCreateTensorboardRunsRequest",
    "tensorboards.experiments.runs.write": "WriteTensorboardRunDataRequest",
    "tensorboards.experiments.runs.timeSeries.create": "TensorboardTimeSeries",
    "modelDeploymentMonitoringJobs.searchModelDeploymentMonitoringStatsAnomalies": (
        "SearchModelDeploymentMonitoringStatsAnomaliesRequest"
    ),
}
IN_THE_PATH = {"parent", "name", "endpoint", "modelDeploymentMonitoringJob"}
IN_THE_PATH |= {"tensorboardExperiment", "tensorboardRun", "trialName"}


@pytest.fixture(scope="module")
def contract(tmp_path_factory):
    return Contract.load(tmp_path_factory.mktemp("contract"))


def documented(message: str) -> set[str]:
    """The fields of `message` that the client's docstring calls required, read from its source (not imported)."""
    package = importlib.util.find_spec("google.cloud.aiplatform_v1")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the client is not installed")
    for path in (Path(package.submodule_search_locations[0]) / "types").glob("*.py"):
        found = re.search(
            rf'^class {message}\(proto\.Message\):\n    r?"""(.*?)"""', path.read_text(), re.S | re.M
        )
        if found:
            names = re.findall(r"^        (\w+) \([^)]*\):\n            Required\.", found[1], re.M)
            return {camel(name) for name in names}
    raise AssertionError(f"no message {message}")


@pytest.mark.parametrize("method", REQUIRED)
def test_the_table_names_fields_of_the_contract(contract, method):
    for each in (m for m in contract.methods if m.api == "aiplatform" and m.id == method):
        for path in REQUIRED[method]:
            schema = contract.schema("aiplatform", each.version, each.request)
            for name in path.split("."):
                schema = schema["properties"][name]
                if "$ref" in schema:
                    schema = contract.schema("aiplatform", each.version, schema["$ref"])


@pytest.mark.parametrize("method", BODIES)
def test_the_table_asks_for_what_the_client_documents(method):
    message = BODIES[method]
    asked = {path for path in REQUIRED[f"projects.locations.{method}"] if "." not in path} - IN_THE_PATH
    excused = {field for name, field in NOT_ASKED if name == message}
    assert documented(message) - IN_THE_PATH - excused == asked


def test_an_empty_message_is_there_and_asked_for_what_is_in_it(portico):
    url = f"{portico.url}/v1/projects/portico/locations/us-central1/customJobs"
    for told, field in (({}, "jobSpec.workerPoolSpecs"), (None, "jobSpec"), ("", "jobSpec")):
        answer = requests.post(url, json={"displayName": "empty", "jobSpec": told}, timeout=240)
        [violation] = answer.json()["error"]["details"][0]["fieldViolations"]
        assert (answer.status_code, violation["field"]) == (400, field)


def test_every_row_is_compared():
    assert {f"projects.locations.{method}" for method in BODIES} == set(REQUIRED)
