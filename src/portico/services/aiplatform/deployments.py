"""What is deployed on an endpoint: deploy, undeploy, mutate.

A deployment first lets every front load the model without traffic and only then moves the traffic, so no request
meets a model that is not there; where a front can't load it, the endpoint stays as it was.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PorticoError
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.prediction.front.sync import await_fronts
from portico.prediction.models.native import files
from portico.prediction.models.native.process import Spec, try_out
from portico.prediction.models.native.process import in_words as in_words_of_native
from portico.prediction.models.predictors import FOREIGN
from portico.prediction.replicas.container import limits
from portico.prediction.replicas.places import said, socket_paths
from portico.sandbox.isolation import in_words
from portico.services.aiplatform import deployment_resource_pools as pools
from portico.services.aiplatform import endpoint_addresses, images, machine_types
from portico.services.aiplatform.custom import identity
from portico.services.aiplatform.endpoints import check_traffic
from portico.services.aiplatform.model_files import serving_of_version
from portico.services.call import Call, implements
from portico.services.registry import model_store
from portico.services.registry.deployed import remove_deployed, scale
from portico.services.standard import operations
from portico.services.standard.collection import check_common
from portico.services.standard.fields import camel
from portico.services.standard.names import DEPLOYED_MODEL_ID, check_same_location, own_id
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate, await_served, publish
from portico.store import replicas, resources, served
from portico.store.jobs import Job
from portico.store.resources import Resource

_SYNC = 60.0  # seconds that fronts have to load a model
_REPLICAS = 1800.0  # seconds that an environment may take to install, and its replicas to start


@implements("aiplatform", ENDPOINTS.method("deployModel"))
def deploy(call: Call) -> dict[str, Any]:
    name = str(call.params["endpoint"])
    deployed = dict(call.body["deployedModel"])
    check_common(deployed)
    check_same_location(name, deployed["model"], "deployedModel.model")
    pools.check_asked(deployed)
    if deployed.get("sharedResources"):
        check_same_location(name, deployed["sharedResources"], "deployedModel.sharedResources")
    deployed["id"] = own_id(
        deployed.get("id"), call.rooms.ids.number(), "deployedModel.id", DEPLOYED_MODEL_ID
    )
    split = call.body.get("trafficSplit") or {}
    with call.rooms.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, name)
        held = endpoint.body.get("deployedModels") or []
        if any(d["id"] == deployed["id"] for d in held):
            raise AlreadyExists(f"The endpoint already has a deployed model {deployed['id']!r}.")
        deployed |= endpoint_addresses.of_deployed(endpoint)
        version = model_store.version_row(connection, deployed["model"])
        images.require_served(deployed["model"], version)
        _require_online(version)
        _check_shared(connection, version, deployed)
        _check_new_split(split, deployed["id"], endpoint)
        payload = {
            "deployed": deployed,
            "split": split,
            "version": version.name,
            "token": call.rooms.ids.token(),
        }
        job = call.rooms.queue.add(connection, "endpoints.deployModel", name, payload)
        operation = operations.start(call, connection, name, "DeployModelOperationMetadata", job=job)
    call.rooms.queue.wake()
    return operations.render(operation)


def _require_online(version: Resource) -> None:
    if model_store.VersionPrivate.of(version).format == "forecast":
        raise FailedPrecondition(
            "Forecasting with AutoML is not compatible with endpoint deployment or online predictions: request a batch "
            f"prediction of the Model {model_store.split(version.name)[0]!r}."
        )


def _check_shared(connection: Connection, version: Resource, deployed: dict[str, Any]) -> None:
    pools.resources_of(connection, deployed)
    kinds = version.body.get("supportedDeploymentResourcesTypes") or []
    if deployed.get("sharedResources") and "SHARED_RESOURCES" not in kinds:
        raise FailedPrecondition(
            f"The Model {deployed['model']!r} is not deployed on pools, but with {' or '.join(kinds)}: give "
            "dedicatedResources in place of sharedResources."
        )


def _check_new_split(split: dict[str, Any], new_id: str, endpoint: Resource) -> None:
    """In a request "0" stands for the model that is being deployed."""
    future = {
        **endpoint.body,
        "deployedModels": [*(endpoint.body.get("deployedModels") or []), {"id": new_id}],
    }
    check_traffic(_resolved(split, new_id), future)


def _resolved(split: dict[str, Any], new_id: str) -> dict[str, Any]:
    return {new_id if key == "0" else key: value for key, value in split.items()}


def run_deploy(context: Context) -> dict[str, Any]:
    """Job: makes the model servable everywhere, then moves the traffic."""
    payload = context.job.payload
    deployed = payload["deployed"]
    with context.database.read() as connection:
        version = resources.get(connection, payload["version"])
    if version is None:
        raise NotFound(f"The Model version {payload['version']!r} was deleted meanwhile.")
    try:
        served_model = _prepare(context, version, deployed)
        _add(context, version, served_model)
        with context.database.write() as connection:
            endpoint = ENDPOINTS.require(connection, context.job.resource)
            split = _resolved(payload["split"], deployed["id"])
            if not split and len(endpoint.body["deployedModels"]) == 1:
                split = {deployed["id"]: 100}
            if split:
                check_traffic(split, endpoint.body)
                endpoint.body["trafficSplit"] = split
            resources.update(connection, endpoint, context.clock.now())
            number = publish(connection, endpoint)
        await_fronts(context.home, number, _SYNC, context.job.resource, deployed["id"])
    except PorticoError:
        _withdraw(context, version, deployed["id"])
        raise
    with context.database.read() as connection:
        endpoint = ENDPOINTS.require(connection, context.job.resource)
    made = next(d for d in endpoint.body["deployedModels"] if d["id"] == deployed["id"])
    return {key: value for key, value in made.items() if key != "privateEndpoints"}


def _prepare(context: Context, version: Resource, deployed: dict[str, Any]) -> served.ServedModel:
    """What the fronts need to serve `version`; starts its replicas and waits for them where it has them."""
    private = model_store.VersionPrivate.of(version)
    spec = deployed.get("explanationSpec") or version.body.get("explanationSpec") or {}
    folder = model_store.folder(context.home, private.artifact)
    digest = private.digest or files.digest(folder)
    files.check_digest(folder, digest)
    if private.format in FOREIGN:
        context.progress(0.1, "trying the model in a process of its own")
        try_out(Spec(private.format, str(folder), digest, spec))
    sockets: list[str] = []
    raw = False
    if private.format == "replica":
        serving = images.explaining(serving_of_version(context.home, version), spec)
        with context.database.read() as connection:
            resources_asked = pools.resources_of(connection, deployed)
        count = max(1, int(resources_asked.get("minReplicaCount", 1)))
        wanted = serving.replica_set(deployed["id"], folder, count, machine_types.memory(resources_asked))
        wanted = identity.of_replicas(context.home, wanted, version.name.split("/")[1])
        context.say(in_words(limits(wanted)))
        if serving.note:
            context.say(serving.note)
        with context.database.write() as connection:
            replicas.put(connection, wanted, context.job.payload["token"])
        context.progress(0.2, "starting replicas")
        replicas.wait_ready(context.database, wanted.id, _REPLICAS, context.should_stop)
        for line in said(context.home, wanted.id):
            context.say(f"replica: {line}")
        sockets = socket_paths(context.home, wanted.id, wanted.count)
        raw = bool(wanted.container)
    context.progress(0.6, "loading the model into every front")
    return served.ServedModel(
        id=deployed["id"],
        model=version.parent,
        model_version_id=version.body["versionId"],
        display_name=version.body["displayName"],
        format=private.format,
        path=str(folder),
        replicas=sockets,
        explain=bool(spec) or private.format in ("portico", "bqml"),
        explanation=spec,
        digest=digest,
        raw=raw,
    )


def _add(context: Context, version: Resource, model: served.ServedModel) -> None:
    """Adds the deployed model without traffic and waits until every front has loaded it."""
    deployed = {
        "displayName": version.body["displayName"],
        **({"explanationSpec": spec} if (spec := version.body.get("explanationSpec")) else {}),
        **context.job.payload["deployed"],
        "model": version.parent,
        "modelVersionId": version.body["versionId"],
        "createTime": rfc3339(context.clock.now()),
    }
    if model.format == "replica":
        with context.database.read() as connection:
            wanted = replicas.get(connection, model.id).spec
        deployed["status"] = {"message": in_words(limits(wanted))}
    elif model.format == "onnx":
        deployed["status"] = {"message": in_words_of_native(Spec(model.format, model.path))}
    now = context.clock.now()
    with context.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, context.job.resource)
        pools.resources_of(connection, deployed)  # its pool has not been deleted meanwhile
        held = endpoint.body.get("deployedModels") or []
        if not any(d["id"] == model.id for d in held):
            endpoint.body["deployedModels"] = [*held, deployed]
        EndpointPrivate.of(endpoint).served[model.id] = model
        resources.update(connection, endpoint, now)
        current = resources.get(connection, version.name)
        if current is None:
            raise NotFound(f"The Model version {version.name!r} was deleted meanwhile.")
        model_store.set_deployed(connection, current, endpoint.name, model.id, True)
        number = publish(connection, endpoint)
    await_fronts(context.home, number, _SYNC, context.job.resource, model.id)


def _withdraw(context: Context, version: Resource, deployed_id: str) -> None:
    with context.database.write() as connection:
        _take_back(connection, context.job.resource, deployed_id, context.clock.now())


def _take_back(connection: Connection, endpoint_name: str, deployed_id: str, now: float) -> None:
    endpoint = resources.get(connection, endpoint_name)
    if endpoint is not None:
        remove_deployed(connection, endpoint, deployed_id, now)
    else:  # deleted meanwhile
        replicas.remove(connection, deployed_id)


def _follow_deploy(connection: Connection, job: Job, now: float) -> None:
    if job.state in ("FAILED", "CANCELLED"):
        _take_back(connection, job.resource, job.payload["deployed"]["id"], now)
    response = {"deployedModel": job.result} if job.state == "SUCCEEDED" else None
    operations.follow(connection, job, now, "DeployModelResponse", response)


register_kind(JobKind("endpoints.deployModel", f"{__name__}:run_deploy", _follow_deploy, lane="thread"))


@implements("aiplatform", ENDPOINTS.method("undeployModel"))
def undeploy(call: Call) -> dict[str, Any]:
    name, deployed_id = str(call.params["endpoint"]), call.body["deployedModelId"]
    split = call.body.get("trafficSplit") or {}
    with call.rooms.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, name)
        held = endpoint.body.get("deployedModels") or []
        if not any(d["id"] == deployed_id for d in held):
            raise NotFound(f"The Endpoint {name} has no deployed model {deployed_id!r}.")
        rest = [d for d in held if d["id"] != deployed_id]
        future = {**endpoint.body, "deployedModels": rest}
        traffic = (endpoint.body.get("trafficSplit") or {}).get(deployed_id, 0)
        if split:
            check_traffic(split, future)
            endpoint.body["trafficSplit"] = split
        elif traffic and rest:
            raise FailedPrecondition(
                f"The deployed model {deployed_id} has {traffic}% of the traffic; give a trafficSplit that says "
                f"who of {', '.join(d['id'] for d in rest)} gets it."
            )
        version = remove_deployed(connection, endpoint, deployed_id, call.rooms.clock.now())
        answer = operations.done(
            call, connection, name, "UndeployModelOperationMetadata", "UndeployModelResponse"
        )
    await_served(call, version)
    return answer


_MUTABLE = ("dedicatedResources", "automaticResources", "disableContainerLogging", "enableAccessLogging")


def _fields_to_mutate(mask: str) -> list[str]:
    """The fields of a deployed model that `mask` names; all that may change, without one.

    Raises:
        InvalidArgument: it names another.
    """
    named = [camel(path.strip().partition(".")[0]) for path in mask.split(",") if path.strip()]
    for name in named:
        if name not in _MUTABLE:
            raise InvalidArgument(
                f"updateMask names {name!r}; of a deployed model only {', '.join(_MUTABLE)} can change.",
                field="updateMask",
            )
    return named or list(_MUTABLE)


@implements("aiplatform", ENDPOINTS.method("mutateDeployedModel"))
def mutate(call: Call) -> dict[str, Any]:
    name = str(call.params["endpoint"])
    asked = call.body["deployedModel"]
    pools.check_asked(asked)
    changed = _fields_to_mutate(call.body.get("updateMask", ""))
    with call.rooms.database.write() as connection:
        endpoint = ENDPOINTS.require(connection, name)
        for deployed in endpoint.body.get("deployedModels") or []:
            if deployed["id"] == asked["id"]:
                break
        else:
            raise NotFound(f"The Endpoint {name} has no deployed model {asked['id']!r}.")
        if deployed.get("sharedResources") and any(asked.get(field) for field in pools.OWN):
            raise InvalidArgument(
                f"What it is deployed with is its pool's: change {deployed['sharedResources']}.",
                field="deployedModel.dedicatedResources",
            )
        for field in changed:
            value = asked.get(field)
            if isinstance(value, dict):
                value = {**deployed.get(field, {}), **value}
            if value is not None:
                deployed[field] = value
        pools.check_asked(deployed)
        count = int(pools.resources_of(connection, deployed).get("minReplicaCount") or 0)
        version = scale(call.rooms, connection, endpoint, deployed["id"], count)
        answer = operations.done(
            call, connection, name, "MutateDeployedModelOperationMetadata", "MutateDeployedModelResponse",
            {"deployedModel": deployed},
        )  # fmt: skip
    await_served(call, version)
    return answer
