"""How a pipeline job starts: what is asked for is checked, its spec taken to pieces, and its first rows written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import AlreadyExists, InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.ids import project_number
from portico.services.aiplatform.custom import persistent_resources
from portico.services.aiplatform.metadata.nodes import ARTIFACTS
from portico.services.aiplatform.pipelines import ir, older, recorded, rerunning, values
from portico.services.aiplatform.pipelines.components import googles_templates, images, resources
from portico.services.aiplatform.pipelines.pipeline_jobs import PIPELINE_JOBS, PipelinePrivate
from portico.services.call import Call, Rooms, implements
from portico.services.registry import metadata, pipeline_runs, templates
from portico.services.registry.pipeline_runs import Origin
from portico.services.standard.collection import After, Made, check_common
from portico.services.standard.names import check_same_location, own_id
from portico.store import pipelines
from portico.store import resources as store
from portico.store.gcs import parse_uri
from portico.store.resources import Resource

_BILLING = (
    "vertex-ai-pipelines-run-billing-id"  # a label that Vertex AI sets, by which a rerun names its original
)
templates.check_by(ir.read)
templates.published_by(googles_templates.publish)


@dataclass(frozen=True, slots=True)
class Asked:
    """A PipelineJob that is asked for below `parent`, checked as far as that can be done before its transaction.

    components: those of its spec (`ir.read`); `parameters`: what the run gets.
    """

    parent: str
    body: dict[str, Any]
    spec: dict[str, Any]
    components: dict[str, dict[str, Any]]
    parameters: dict[str, Any]

    @property
    def root(self) -> str:
        """Under which gs:// name the run's artifacts lie."""
        config = self.body.get("runtimeConfig") or {}
        return str(config.get("gcsOutputDirectory") or self.spec.get("defaultPipelineRoot") or "")


@implements("aiplatform", PIPELINE_JOBS.method("create"))
def create(call: Call) -> dict[str, Any]:
    return PIPELINE_JOBS.created(call, _making)


def _making(call: Call, name: str) -> Made:
    with call.rooms.database.read() as connection:
        asked = ask(call.rooms, connection, str(call.params["parent"]), call.body)
    job_id = str(call.params.get("pipelineJobId") or "")  # without one its name begins with the pipeline's

    def made(connection: Connection) -> tuple[Resource, After]:
        return start(call.rooms, connection, asked, job_id), call.rooms.queue.wake

    return made


def ask(rooms: Rooms, connection: Connection, parent: str, given: Mapping[str, Any]) -> Asked:
    """Checks the PipelineJob `given`, whose spec is fetched where it only names a template.

    Raises:
        InvalidArgument, NotFound, Unimplemented: naming the field.
    """
    body = dict(given)
    check_common(body)
    _check_built(body)
    spec = _spec_of(rooms, connection, body)
    components = ir.read(spec)
    _note_asks(rooms, components, bool(body.get("preflightValidations")))
    parameters = _parameters(components[ir.ROOT], _given(spec, body.get("runtimeConfig") or {}))
    asked = Asked(parent, body, spec, components, parameters)
    field = "pipelineJob.runtimeConfig.gcsOutputDirectory"
    try:
        parse_uri(asked.root)
    except InvalidArgument as error:
        raise InvalidArgument(f"{field}: {error.message}", field=field) from None
    return asked


def start(
    rooms: Rooms, connection: Connection, asked: Asked, job_id: str = "", origin: Origin | None = None, *,
    parent: str | None = None,
) -> Resource:  # fmt: skip
    """The new pipeline job, in the caller's transaction. Wake the queue when that is committed. `parent` is the
    durable job that waits for it.

    Raises:
        AlreadyExists: the id is taken. InvalidArgument: the id, an input artifact, or what a rerun repeats.
    """
    body, spec = asked.body, asked.spec
    number = rooms.ids.number()
    made = own_id(job_id, f"{_slug(spec)}-{number}", "pipelineJobId", PIPELINE_JOBS.ids)
    name, root = f"{asked.parent}/pipelineJobs/{made}", int(rooms.ids.number())
    body = {**body, "serviceAccount": body.get("serviceAccount") or _default_account(asked.parent)}
    facts = _facts(rooms, asked, body, name)
    labels = {**(body.get("labels") or {}), _BILLING: str(root)}
    shown = {**body, "state": PIPELINE_JOBS.state("PENDING")}
    if origin is not None:
        labels |= origin.labels
        facts["scheduleTime"] = origin.time
        if "/schedules/" in origin.name:
            shown["scheduleName"] = origin.name
    shown["labels"] = labels
    shown.setdefault("displayName", facts["pipeline"])
    root_component = asked.components[ir.ROOT]
    inputs = {
        "parameters": asked.parameters,
        "artifacts": _artifacts(connection, asked.parent, root_component, body.get("runtimeConfig") or {}),
    }
    facts |= rerunning.skipped(connection, asked.parent, body)
    if store.get(connection, name) is not None:
        raise AlreadyExists(f"The PipelineJob {name!r} already exists; choose another id.")
    payload = {"origin": origin.name} if origin else {}
    if persistent := _persistent(connection, asked.parent, body):
        payload["persistent"] = persistent
    job = rooms.queue.add(connection, "pipelineJobs", name, payload, parent=parent)
    private = PipelinePrivate(job=job, root=root, facts=facts, inputs=inputs)
    new = store.insert(connection, name=name, kind=PIPELINE_JOBS.kind, parent=asked.parent, body=shown,
                       now=rooms.clock.now(), private=private)  # fmt: skip
    assert new is not None
    pipelines.add_components(connection, name, {**asked.components, pipelines.WHOLE: spec})
    recorded.add_contexts(connection, name, facts["pipeline"], new.create_time, _why(origin))
    return new


def _why(origin: Origin | None) -> dict[str, Any]:
    """What the context of a run says of what started it."""
    return {"startedBy": origin.name, "dueTime": rfc3339(origin.time), **origin.why} if origin else {}


def _persistent(connection: Connection, parent: str, body: Mapping[str, Any]) -> str:
    """The persistent resource on which the tasks of a PipelineJob run; "" without one. None waits for it: it is there,
    and holds no cores of its own (`custom.persistent_resources`).

    Raises:
        InvalidArgument: there is no such resource, or it is another location's.
    """
    runtime = (body.get("runtimeConfig") or {}).get("defaultRuntime") or {}
    told = runtime.get("persistentResourceRuntimeDetail") or {}
    name = str(told.get("persistentResourceName") or "")
    field = "pipelineJob.runtimeConfig.defaultRuntime.persistentResourceRuntimeDetail.persistentResourceName"
    if runtime and not name:
        raise InvalidArgument("Which persistent resource its tasks run on is missing.", field=field)
    if name:
        check_same_location(f"{parent}/persistentResources", name, field)
        persistent_resources.require(connection, name, field)
    return name


def _check_built(body: dict[str, Any]) -> None:
    if body.get("encryptionSpec"):
        raise Unimplemented(
            "Customer keys for pipeline jobs are not built in Portico yet; leave encryptionSpec out."
        )


def _spec_of(rooms: Rooms, connection: Connection, body: dict[str, Any]) -> dict[str, Any]:
    """The spec that `body` has or whose template it names; of the latter it is noted which version that is."""
    spec, uri = body.pop("pipelineSpec", None), str(body.get("templateUri") or "")
    if not spec and not uri:
        raise InvalidArgument(
            "pipelineSpec is missing, or templateUri, which says where it lies.",
            field="pipelineJob.pipelineSpec",
        )
    if uri:
        if spec:  # a client has fetched it
            version = templates.known_version(connection, uri)
        else:
            spec, version = templates.fetch(rooms, connection, uri)
        if version:
            body["templateMetadata"] = {"version": version}
    made: dict[str, Any] = spec
    return made


def _note_asks(rooms: Rooms, components: dict[str, dict[str, Any]], preflight: bool) -> None:
    """Notes what each container asks of the machine; where asked, finds out beforehand whether its image runs here."""
    for name, component in components.items():
        if container := (component.get("executor") or {}).get("container"):
            if "{{$" not in json.dumps(container.get("resources")):  # else it is known when its inputs are
                asks = resources.asks_of(container, rooms.home)
                component["asks"] = [asks.cores, asks.memory, asks.accelerators]
            if preflight and "{{$" not in container["image"]:
                try:
                    images.base_of(container["image"])
                except PorticoError as error:
                    raise InvalidArgument(
                        f"components[{name}]: {error.message}", field="pipelineSpec"
                    ) from None


def _slug(spec: dict[str, Any]) -> str:
    """The beginning of an id that is made for a run: its pipeline's name."""
    return re.sub("[^a-z0-9]+", "-", spec["pipelineInfo"]["name"].lower()).strip("-")[:100] or "pipeline"


def _default_account(parent: str) -> str:
    """As whom a run works that names no account: as on Vertex AI, Compute Engine's default account of the project."""
    return f"{project_number(parent.split('/')[1])}-compute@developer.gserviceaccount.com"


def _facts(rooms: Rooms, asked: Asked, body: Mapping[str, Any], name: str) -> dict[str, Any]:
    spec = asked.spec
    config = body.get("runtimeConfig") or {}
    return {
        "job": name.rpartition("/")[2],
        "pipeline": spec["pipelineInfo"]["name"],
        "pipelineRoot": asked.root,
        "failurePolicy": config.get("failurePolicy") or "",
        "serviceAccount": body["serviceAccount"],
        "labels": body.get("labels") or {},
        "createTime": rooms.clock.now(),
        "timeout": asked.components[ir.ROOT].get("timeout"),
        "home": str(rooms.home),  # where the environments are that its tasks ran in
    }


def _given(spec: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a run is given, those of kfp before 2.0 without their types."""
    typed, field = config.get("parameters") or {}, "pipelineJob.runtimeConfig.parameters"
    if typed and not older.is_one(spec):
        raise InvalidArgument(
            f"{field} is that of kfp before 2.0 (schemaVersion 2.0.0); give parameterValues.", field=field
        )
    return {**older.plain(typed, field), **(config.get("parameterValues") or {})}


def _parameters(root: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    definitions = (root.get("inputDefinitions") or {}).get("parameters") or {}
    field = "pipelineJob.runtimeConfig.parameterValues"
    try:
        found, lacking = values.given(definitions, given, field)
    except ValueError as error:
        raise InvalidArgument(str(error), field=field) from None
    if lacking:
        raise InvalidArgument(f"{field} lacks {', '.join(lacking)}, which the pipeline needs.", field=field)
    return found


def _artifacts(
    connection: Connection, parent: str, root: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    definitions = (root.get("inputDefinitions") or {}).get("artifacts") or {}
    given, field = config.get("inputArtifacts") or {}, "pipelineJob.runtimeConfig.inputArtifacts"
    found = {}
    for name, one in given.items():
        if name not in definitions:
            raise InvalidArgument(f"{field}[{name}] is no input of the pipeline.", field=field)
        place = f"{parent}/{metadata.DEFAULT}/artifacts/{one.get('artifactId', '')}"
        try:
            held = ARTIFACTS.require(connection, place)
        except NotFound:
            raise InvalidArgument(f"{field}[{name}]: there is no artifact {place}.", field=field) from None
        kind = {
            "schemaTitle": held.body.get("schemaTitle", ""),
            "schemaVersion": held.body.get("schemaVersion", ""),
        }
        found[name] = [
            {
                "name": place,
                "type": kind,
                "uri": held.body.get("uri", ""),
                "metadata": held.body.get("metadata") or {},
            }
        ]
    lacking = [name for name, one in definitions.items() if name not in found and not one.get("isOptional")]
    if lacking:
        raise InvalidArgument(f"{field} lacks {', '.join(lacking)}, which the pipeline needs.", field=field)
    return found


pipeline_runs.start_by(sys.modules[__name__])
