"""What the door does with a body before a service sees it: proto3 JSON in all its forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.doors.contract.checks import Checker, query
from portico.doors.contract.documents import Contract
from portico.errors import InvalidArgument


@pytest.fixture(scope="session")
def contract(tmp_path_factory):
    return Contract.load(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="session")
def checker(contract):
    return Checker(contract, "aiplatform", "v1")


def method(contract, http, path):
    found = contract.match(http, path)
    assert found is not None
    return found.method


@pytest.fixture(scope="session")
def deploy(contract):
    return method(contract, "POST", "/v1/projects/p/locations/l/endpoints/1:deployModel")


@pytest.fixture(scope="session")
def create_job(contract):
    return method(contract, "POST", "/v1/projects/p/locations/l/batchPredictionJobs")


def test_both_casings_become_camel_case(checker, deploy):
    body = {"deployed_model": {"displayName": "a", "automatic_resources": {"min_replica_count": 2.0}}}
    assert checker.body(deploy, body) == {
        "deployedModel": {"displayName": "a", "automaticResources": {"minReplicaCount": 2}}
    }


def test_null_is_absent_and_output_only_is_dropped(checker, create_job):
    body = {"displayName": "a", "state": "JOB_STATE_RUNNING", "createTime": "whenever", "labels": None}
    assert checker.body(create_job, body) == {"displayName": "a"}


def test_a_value_keeps_what_is_in_it(checker, create_job):
    value = {"snake_case": None, "list": [1, None, {"deep_one": 2}]}
    assert checker.body(create_job, {"modelParameters": value}) == {"modelParameters": value}


def test_enums_come_by_name_or_number(contract, checker):
    upload = method(contract, "POST", "/v1/projects/p/locations/l/models:upload")

    def kind(value):
        sent = {
            "model": {"displayName": "a", "baseModelSource": None, "modelSourceInfo": {}, "containerSpec": {}}
        }
        sent["model"]["explanationSpec"] = {"metadata": {"inputs": {"a": {"encoding": value}}}}
        got = checker.body(upload, sent)
        return got["model"]["explanationSpec"]["metadata"]["inputs"]["a"]["encoding"]

    assert kind("BAG_OF_FEATURES") == kind(2) == kind(2.0) == "BAG_OF_FEATURES"
    with pytest.raises(InvalidArgument, match=r"model\.explanationSpec.*one of IDENTITY"):
        kind("NO_SUCH")


def test_enum_numbers_are_the_clients(contract):
    """The documents list some enums out of order; the numbers come from the client's message types."""
    from google.cloud.aiplatform_v1 import types

    for name in ("DeployedModel", "BatchPredictionJob", "TrainingPipeline", "Model"):
        schema = contract.schema("aiplatform", "v1", f"GoogleCloudAiplatformV1{name}")
        assert schema["properties"]
    state = contract.schema("aiplatform", "v1", "GoogleCloudAiplatformV1BatchPredictionJob")["properties"][
        "state"
    ]
    assert state["enum"] == {member.name: int(member) for member in types.JobState}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"deployedModel": {"nope": 1}}, "deployedModel"),
        ({"deployedModel": []}, "deployedModel"),
        ({"deployedModel": {"displayName": 5}}, "deployedModel.displayName"),
        ({"trafficSplit": {"0": "many"}}, "trafficSplit.0"),
        ({"trafficSplit": {"0": 2**31}}, "trafficSplit.0"),
        ({"deployedModel": {"enableAccessLogging": "yes"}}, "deployedModel.enableAccessLogging"),
    ],
)
def test_what_is_wrong_is_named(checker, deploy, body, field):
    with pytest.raises(InvalidArgument) as caught:
        checker.body(deploy, body)
    assert [v.field for v in caught.value.violations] == [field]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_whatever_comes_is_checked_or_refused(checker, deploy, value):
    for body in (value, {"deployedModel": value}, {"trafficSplit": value}):
        try:
            assert isinstance(checker.body(deploy, body), dict)
        except InvalidArgument as refused:
            assert refused.message


def test_query_parameters_are_typed(contract):
    listing = method(contract, "GET", "/v1/projects/p/locations/l/models")
    assert query(listing, [("pageSize", "5"), ("filter", "a=b"), ("$alt", "json;enum-encoding=int")]) == {
        "pageSize": 5,
        "filter": "a=b",
    }
    with pytest.raises(InvalidArgument, match="pageSize"):
        query(listing, [("pageSize", "many")])
    with pytest.raises(InvalidArgument, match='Unknown name "pagesize"'):
        query(listing, [("pagesize", "5")])


@pytest.mark.parametrize(
    ("http", "path", "expected", "params"),
    [
        (
            "GET",
            "/v1/projects/p/locations/l/models/1@2",
            "models.get",
            {"name": "projects/p/locations/l/models/1@2"},
        ),
        ("POST", "/v1beta1/projects/p/locations/l/endpoints/1:predict", "endpoints.predict", None),
        ("GET", "/storage/v1/b/b/o/a%2Fb%3F", "objects.get", {"bucket": "b", "object": "a/b?"}),
        ("GET", "/storage/v1/b/b/o/a:b", "objects.get", {"bucket": "b", "object": "a:b"}),
        ("GET", "/v1/projects/p/locations/l/nothing", None, None),
        ("PUT", "/v1/projects/p/locations/l/models/1", None, None),
        ("GET", "/v1//projects/p/locations/l/models", None, None),
        (
            "DELETE",
            "/apis/cloudresourcemanager/v3/tagBindings/%2F%2Fa.googleapis.com%2Fb/tagValues/1",
            "tagBindings.delete",
            {"name": "tagBindings///a.googleapis.com/b/tagValues/1"},
        ),
        ("DELETE", "/apis/cloudresourcemanager/v3/tagKeys/1/2", None, None),
    ],
)
def test_routes(contract, http, path, expected, params):
    found = contract.match(http, path)
    assert (found and ".".join(found.method.id.split(".")[-2:])) == expected
    if params:
        assert found.path_params == params
