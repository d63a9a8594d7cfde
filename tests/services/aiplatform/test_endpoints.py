"""Endpoints: who gets the traffic, what they may be called, and at which addresses they answer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.api_core import exceptions
from tests.services.aiplatform.conftest import train_booster

PARENT = "projects/test-project/locations/us-central1"
ROW = {"a": 1.0, "b": 2.0, "c": 3.0}


@pytest.fixture
def client(portico):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1

    return aiplatform_v1.EndpointServiceClient(
        transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": portico.url}
    )


def test_a_model_with_traffic_is_undeployed_only_with_a_split(aiplatform, client, upload):
    endpoint = aiplatform.Endpoint.create(display_name="traffic")
    name = endpoint.resource_name
    for traffic in (100, 0):
        endpoint.deploy(upload(train_booster(traffic + 1.0)), traffic_percentage=traffic)
    one, two = (deployed.id for deployed in client.get_endpoint(name=name).deployed_models)

    def undeploy(which, split):
        client.undeploy_model(endpoint=name, deployed_model_id=which, traffic_split=split).result()

    def split():
        return {key: value for key, value in client.get_endpoint(name=name).traffic_split.items() if value}

    with pytest.raises(exceptions.BadRequest, match=f"100% .* trafficSplit .*{two}"):
        undeploy(one, {})
    with pytest.raises(exceptions.BadRequest, match="add up to 0"):
        undeploy(one, {two: 0})
    assert split() == {one: 100}
    undeploy(one, {two: 100})
    assert split() == {two: 100}
    assert client.get_endpoint(name=name).deployed_models[0].id == two
    undeploy(two, {})  # the last one takes the traffic with it
    assert split() == {}
    endpoint.delete()


def test_a_deployed_model_has_its_models_explanation_spec(aiplatform, upload):
    model = upload(
        explanation_parameters={"sampled_shapley_attribution": {"path_count": 7}},
        explanation_metadata={"inputs": {"features": {}}, "outputs": {"prediction": {}}},
    )
    endpoint = model.deploy()
    [deployed] = endpoint.list_models()
    assert deployed.explanation_spec.parameters.sampled_shapley_attribution.path_count == 7
    endpoint.undeploy_all()
    endpoint.delete()


CPU = "aiplatform.googleapis.com/prediction/online/cpu/utilization"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"machine_spec": {"machine_type": "banana-2"}}, "machineSpec.machineType"),
        (
            {"autoscaling_metric_specs": [{"metric_name": "bananas", "target": 60}]},
            r"autoscalingMetricSpecs\[0\].metricName",
        ),
        (
            {"autoscaling_metric_specs": [{"metric_name": CPU, "target": 160}]},
            r"autoscalingMetricSpecs\[0\].target",
        ),
    ],
)
def test_resources_that_do_not_exist_are_refused(aiplatform, client, upload, asked, field):
    endpoint = aiplatform.Endpoint.create(display_name="asking")
    with pytest.raises(exceptions.BadRequest, match=f"dedicatedResources.{field}"):
        client.deploy_model(
            endpoint=endpoint.resource_name,
            deployed_model={
                "model": upload().resource_name,
                "dedicated_resources": {"min_replica_count": 1, **asked},
            },
        )
    assert not client.get_endpoint(name=endpoint.resource_name).deployed_models
    endpoint.delete()


@pytest.mark.parametrize("given", [".", "..", "Upper", "a_b", "-a", "a-", "12345678901", "1a", "a" * 64])
def test_endpoint_ids_that_google_forbids(aiplatform, given):
    with pytest.raises(exceptions.BadRequest, match="endpointId"):
        aiplatform.Endpoint.create(display_name="e", endpoint_id=given)


@pytest.mark.parametrize("given", [".", "..", "Upper", "1a", "-a", "a.b", "ä", "a" * 64])
def test_model_ids_that_google_forbids(upload, given):
    with pytest.raises(exceptions.BadRequest, match="modelId"):
        upload(model_id=given)


def test_ids_that_google_allows(aiplatform, client, upload):
    for given in ("a", "a-1", "a" * 63, "1234567890"):
        endpoint = aiplatform.Endpoint.create(display_name="e", endpoint_id=given)
        assert endpoint.name == given
        endpoint.delete()
    model = upload(model_id="a_-")
    assert model.name == "a_-"
    endpoint = aiplatform.Endpoint.create(display_name="e")
    for given in ("x", ".", "12345678901", "-1"):
        with pytest.raises(exceptions.BadRequest, match=r"deployedModel\.id"):
            client.deploy_model(
                endpoint=endpoint.resource_name, deployed_model={"id": given, "model": model.resource_name}
            )
    endpoint.delete()
    model.delete()


def test_a_private_endpoint_answers_at_its_own_addresses(aiplatform, upload, booster):
    from google.cloud import aiplatform_v1

    network = "projects/1/global/networks/default"
    with pytest.raises(exceptions.BadRequest, match="network"):
        aiplatform.PrivateEndpoint.create(display_name="private", network="default")
    private = aiplatform.PrivateEndpoint.create(display_name="private", network=network)
    private.deploy(upload())
    assert private.predict([ROW]).predictions == booster.predict([list(ROW.values())]).tolist()
    assert private.health_check()
    [found] = aiplatform.PrivateEndpoint.list(filter=f'endpoint="{private.name}"')
    assert found.predict_http_uri.endswith(f"/v1/{private.resource_name}:predict")
    asked = aiplatform_v1.Endpoint(name=private.resource_name, display_name="still private")
    [told] = private.api_client.update_endpoint_long_running(endpoint=asked).result().deployed_models
    assert told.private_endpoints.predict_http_uri == found.predict_http_uri
    with pytest.raises(exceptions.BadRequest, match="one deployed model"):
        aiplatform.PrivateEndpoint(private.resource_name).deploy(upload(train_booster(3.0)))
    private.undeploy_all()
    private.delete()


_DEDICATED = f"""
from google.cloud import aiplatform
aiplatform.init(project="test-project", location="us-central1")
model = aiplatform.Model.list(filter='display_name="for a dedicated one"')[0]
endpoint = aiplatform.Endpoint.create(display_name="dedicated", dedicated_endpoint_enabled=True)
endpoint.deploy(model)
endpoint = aiplatform.Endpoint(endpoint.resource_name)
print(endpoint.dedicated_endpoint_dns)
print(endpoint.predict([{ROW}], use_dedicated_endpoint=True).predictions[0])
endpoint.delete(force=True)
"""


def test_a_dedicated_endpoint_is_called_by_its_name_where_a_client_is_led_here(
    portico, aiplatform, upload, booster
):
    with pytest.raises(exceptions.MethodNotImplemented, match="portico exec"):
        aiplatform.Endpoint.create(display_name="dedicated", dedicated_endpoint_enabled=True)
    model = upload(display_name="for a dedicated one")
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _DEDICATED], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    name = next(line for line in lines if line.endswith(".localhost"))
    value = lines[lines.index(name) + 1]
    assert name.endswith(".us-central1-test-project.prediction.localhost")
    assert float(value) == booster.predict([list(ROW.values())])[0]
    model.delete()


def test_a_long_running_update_is_an_operation_with_the_endpoint(aiplatform):
    from google.cloud import aiplatform_v1

    endpoint = aiplatform.Endpoint.create(display_name="before", labels={"a": "b"})
    asked = aiplatform_v1.Endpoint(name=endpoint.resource_name, display_name="after")
    found = endpoint.api_client.update_endpoint_long_running(endpoint=asked).result()
    assert (found.name, found.display_name, dict(found.labels)) == (
        endpoint.resource_name,
        "after",
        {"a": "b"},
    )
