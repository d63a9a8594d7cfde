"""Deployment resource pools: machines that several deployed models share."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1
from google.protobuf.field_mask_pb2 import FieldMask
from tests.services.aiplatform.conftest import train_booster

ROW = {"a": 1.0, "b": 2.0, "c": 3.0}


def client_of(portico: Any, kind: Any) -> Any:
    from google.auth.credentials import AnonymousCredentials

    return kind(
        transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": portico.url}
    )


def test_models_share_a_pool_until_it_is_empty(portico, aiplatform, upload):
    pool = aiplatform.DeploymentResourcePool.create(
        deployment_resource_pool_id="shared",
        machine_type="n1-standard-4",
        min_replica_count=1,
        max_replica_count=2,
    )
    assert pool.resource_name.endswith("/deploymentResourcePools/shared")
    assert [one.name for one in aiplatform.DeploymentResourcePool.list()] == ["shared"]
    with pytest.raises(exceptions.Conflict, match="already exists"):
        aiplatform.DeploymentResourcePool.create("shared", machine_type="n1-standard-4")
    endpoints = [aiplatform.Endpoint.create(display_name=f"shared-{number}") for number in range(2)]
    for number, endpoint in enumerate(endpoints):
        model = upload(train_booster(number + 1.0))
        assert "SHARED_RESOURCES" in [one.name for one in model.supported_deployment_resources_types]
        model.deploy(endpoint, deployment_resource_pool=pool)
        [deployed] = endpoint.list_models()
        assert (
            deployed.shared_resources == pool.resource_name and not deployed.dedicated_resources.machine_spec
        )
        assert len(endpoint.predict([ROW]).predictions) == 1
    client = client_of(portico, aiplatform_v1.DeploymentResourcePoolServiceClient)
    told = client.query_deployed_models(deployment_resource_pool=pool.resource_name, retry=None)
    assert (told.total_deployed_model_count, told.total_endpoint_count) == (2, 2)
    refs = {(one.endpoint, one.deployed_model_id) for one in told.deployed_model_refs}
    assert refs == {(one.resource_name, one.list_models()[0].id) for one in endpoints}
    first = client.query_deployed_models({"deployment_resource_pool": pool.resource_name, "page_size": 1})
    assert len(list(first.pages)) == 2

    with pytest.raises(exceptions.BadRequest, match=r"2 deployed models are on .*undeploy them first"):
        pool.delete()
    changes = client_of(portico, aiplatform_v1.EndpointServiceClient)
    with pytest.raises(exceptions.BadRequest, match=r"its pool's: change .*/shared"):
        changes.mutate_deployed_model(
            endpoint=endpoints[0].resource_name,
            deployed_model={
                "id": endpoints[0].list_models()[0].id,
                "dedicated_resources": {"min_replica_count": 1},
            },
            update_mask=FieldMask(paths=["dedicated_resources"]),
        )
    for endpoint in endpoints:
        endpoint.undeploy_all()
        endpoint.delete()
    pool.delete()
    assert aiplatform.DeploymentResourcePool.list() == []


def test_what_a_pool_is_can_change_but_for_its_machines(portico):
    client = client_of(portico, aiplatform_v1.DeploymentResourcePoolServiceClient)
    parent = "projects/test-project/locations/us-central1"
    machine = {"machine_type": "n1-standard-2"}

    def make(**resources: Any) -> Any:
        pool = {"dedicated_resources": resources}
        made = client.create_deployment_resource_pool(
            parent=parent, deployment_resource_pool=pool, deployment_resource_pool_id="changing"
        )
        return made.result()

    with pytest.raises(exceptions.BadRequest, match=r"type of its machines"):
        make(min_replica_count=1)
    with pytest.raises(exceptions.BadRequest, match=r"minReplicaCount is 3 and maxReplicaCount 2"):
        make(machine_spec=machine, min_replica_count=3, max_replica_count=2)
    pool = make(machine_spec=machine, min_replica_count=1)
    pool.dedicated_resources.max_replica_count = 3
    mask = FieldMask(paths=["dedicated_resources.max_replica_count"])
    changed = client.update_deployment_resource_pool(deployment_resource_pool=pool, update_mask=mask).result()
    assert changed.dedicated_resources.max_replica_count == 3
    assert changed.dedicated_resources.machine_spec.machine_type == "n1-standard-2"
    pool.dedicated_resources.machine_spec.machine_type = "n1-standard-8"
    with pytest.raises(exceptions.BadRequest, match="machines of a pool can't change"):
        client.update_deployment_resource_pool(
            deployment_resource_pool=pool, update_mask=FieldMask(paths=["dedicated_resources"])
        )
    client.delete_deployment_resource_pool(name=pool.name).result()


def test_a_model_names_a_pool_that_is_there_and_nothing_else(portico, aiplatform, upload):
    client = client_of(portico, aiplatform_v1.EndpointServiceClient)
    endpoint, model = aiplatform.Endpoint.create(display_name="pools"), upload()
    parent = endpoint.resource_name.partition("/endpoints/")[0]

    def deploy(**asked: Any) -> None:
        client.deploy_model(
            endpoint=endpoint.resource_name, deployed_model={"model": model.resource_name, **asked}
        )

    with pytest.raises(exceptions.NotFound, match=r"DeploymentResourcePool .*nowhere"):
        deploy(shared_resources=f"{parent}/deploymentResourcePools/nowhere")
    with pytest.raises(exceptions.BadRequest, match="is not in projects/"):
        deploy(shared_resources="projects/other/locations/us-central1/deploymentResourcePools/nowhere")
    endpoint.delete()
