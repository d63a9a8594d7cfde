"""Versions of registered models: each becomes, with its files, a version of a Vertex AI Model; it is READY when its
files are in Portico's registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.jobs import kinds
from portico.services.call import Call, implements
from portico.services.mlflow import (
    artifacts,
    experiments,
    flavours,
    logged_models,
    run_rows,
    runs,
    version_rows,
)
from portico.services.mlflow.experiments import milliseconds, place_of
from portico.services.mlflow.flavours import Flavour
from portico.services.mlflow.registered_models import PROMPT, is_prompt, no_prompts, tag_of
from portico.services.mlflow.search import Language, page
from portico.services.mlflow.version_rows import KIND, VERSION_KIND, require, require_version, versions
from portico.services.registry import model_store
from portico.services.registry.model_store import VersionPrivate
from portico.store import resources
from portico.store.jobs import ENDED, Job
from portico.store.resources import Resource

_MODELS = re.compile(
    r"models:/+(?:(?P<logged>m-[0-9a-f]{32})|(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/]+)))"
)
_RUNS = re.compile(r"runs:/+(?P<run>[^/]+)/(?P<path>.+)")
_FETCH = "models.fetch"
_DEPTH = 10  # versions that were made of versions


@implements("mlflow", "model-versions.createModelVersion")
def create(call: Call) -> dict[str, Any]:
    asked, rooms = call.body, call.rooms
    source = str(asked.get("source") or "")
    if not source:
        raise InvalidArgument("A version needs a source, such as models:/MODEL_ID.", field="source")
    tags = runs.checked_tags(asked.get("tags"))
    with rooms.database.read() as connection:
        require(connection, call, asked.get("name"))
        uri = _uri(call, connection, source)
    flavour = flavours.of(rooms, uri) if uri else None
    with rooms.database.write() as connection:
        model = require(connection, call, asked.get("name"))
        model.body["last"] += 1
        number = str(model.body["last"])
        body: dict[str, Any] = {
            "version": number,
            "source": source,
            "stage": "None",
            "status": "READY",
            "tags": tags,
            **{
                key: str(asked[key])
                for key in ("run_id", "run_link", "description", "model_id")
                if asked.get(key)
            },
        }
        name = f"{model.name}/versions/{number}"
        if not (is_prompt(tags) or is_prompt(model.body["tags"])):
            body["vertex"] = _register(
                call, connection, model, body, uri if flavour else "", flavour or Flavour()
            )
            if flavour:
                body["status"] = "PENDING_REGISTRATION"
                _fetch(call, connection, name, body, uri, flavour)
        made = resources.insert(
            connection, name=name, kind=VERSION_KIND, parent=model.name, body=body, now=rooms.clock.now()
        )
        assert made is not None  # the number is new
        resources.update(connection, model, rooms.clock.now())
        _note_registration(call, connection, model, body)
        shown = version_rows.render(model, made)
    rooms.queue.wake()
    return {"model_version": shown}


def _register(
    call: Call, connection: Connection, model: Resource, body: Mapping[str, Any], uri: str, flavour: Flavour
) -> str:
    """The name of a new version of the Vertex AI Model, which has no files yet."""
    place, own = place_of(call), version_rows.model_id(connection, call, model)
    vertex: dict[str, Any] = {
        "displayName": version_rows.display_name(model.body["name"]),
        "description": model.body["description"],
        "versionDescription": body.get("description", ""),
        "modelSourceInfo": {"sourceType": "CUSTOM"},
    }
    if uri:
        vertex["artifactUri"] = uri
    if flavour.image:
        vertex["containerSpec"] = {"imageUri": flavour.image}
    new = resources.get(connection, f"{place}/models/{own}") is None
    made = model_store.add_version(
        connection, place, own, vertex, VersionPrivate(), call.rooms.clock.now(),
        new=new, aliases=[], make_default=True,
    )  # fmt: skip
    return made.name


def _fetch(
    call: Call, connection: Connection, version: str, body: Mapping[str, Any], uri: str, flavour: Flavour
) -> None:
    payload = {
        "version": body["vertex"],
        "uri": uri,
        "run": _run(call, connection, body),
        "names": dict(flavour.names),
        "artifact": call.rooms.ids.token(),
        "registered": version,
    }
    call.rooms.queue.add(connection, _FETCH, str(body["vertex"]).partition("@")[0], payload)


def _run(call: Call, connection: Connection, body: Mapping[str, Any]) -> str:
    """The full name of the run that made a version's model; "" where none did."""
    given = body.get("run_id")
    if not given and (logged := _logged(call, connection, body)) is not None:
        given = logged.body["source_run_id"]
    try:
        return run_rows.require(connection, call, given).name
    except NotFound:
        return ""


def _logged(call: Call, connection: Connection, body: Mapping[str, Any]) -> Resource | None:
    """The logged model of which something is a version, where it is one's."""
    named = _MODELS.fullmatch(str(body["source"]))
    given = body.get("model_id") or (named["logged"] if named else "")
    found = resources.get(connection, logged_models.name_of(call, given))
    return found if found is not None and found.kind == logged_models.KIND else None


def _note_registration(call: Call, connection: Connection, model: Resource, body: Mapping[str, Any]) -> None:
    """Lets the logged model say of what it became a version."""
    found = _logged(call, connection, body)
    if found is not None:
        said = {"name": model.body["name"], "version": body["version"]}
        found.body["registrations"] = [*found.body.get("registrations", []), said]
        resources.update(connection, found, call.rooms.clock.now())


def _follow(connection: Connection, job: Job, now: float) -> None:
    """A version is ready, or has failed, when its files are there, or can't be had."""
    if job.kind != _FETCH or job.state not in ENDED:
        return
    version = resources.get(connection, job.payload.get("registered", ""))
    if version is None or version.kind != VERSION_KIND:
        return  # deleted meanwhile
    version.body["status"] = "READY" if job.state == "SUCCEEDED" else "FAILED_REGISTRATION"
    if job.error:
        version.body["status_message"] = job.error["message"]
    resources.update(connection, version, now)


kinds.watch(_follow)


def _uri(call: Call, connection: Connection, source: str) -> str:
    """The `gs://` folder with the files of a source; "" where they are elsewhere."""
    try:
        return artifacts.uri_of(place_of(call), _artifact_uri(call, connection, source))
    except InvalidArgument:
        return ""


def _artifact_uri(call: Call, connection: Connection, source: str, depth: int = 0) -> str:
    """Where the files of a source are, which may name a logged model, a version or a run.

    Raises:
        NotFound: it names what isn't there. InvalidArgument: versions name one another in a circle.
    """
    if depth > _DEPTH:
        raise InvalidArgument(f"{source!r} names a version that names a version, and so on.", field="source")
    if found := _MODELS.fullmatch(source):
        if found["logged"]:
            return logged_models.artifact_uri(
                connection, logged_models.require(connection, call, found["logged"])
            )
        model = require(connection, call, found["name"])
        number = found["version"] or model.body["aliases"].get(found["alias"])
        version = require_version(connection, model, number)
        return _artifact_uri(call, connection, str(version.body["source"]), depth + 1)
    if found := _RUNS.fullmatch(source):
        run = run_rows.require(connection, call, found["run"])
        experiment = experiments.require(connection, call, experiments.wire_id(run_rows.experiment_of(run)))
        return f"{run_rows.info(run, experiment)['artifact_uri']}/{found['path']}"
    return source


# --- the rest ---


@implements("mlflow", "model-versions.getModelVersion")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        model = require(connection, call, call.params.get("name"))
        return {
            "model_version": version_rows.render(
                model, require_version(connection, model, call.params.get("version"))
            )
        }


@implements("mlflow", "model-versions.getModelVersionDownloadUri")
def get_download_uri(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        model = require(connection, call, call.params.get("name"))
        version = require_version(connection, model, call.params.get("version"))
        return {"artifact_uri": _artifact_uri(call, connection, str(version.body["source"]))}


@implements("mlflow", "model-versions.updateModelVersion")
def update(call: Call) -> dict[str, Any]:
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        version = require_version(connection, model, call.body.get("version"))
        version.body["description"] = str(call.body.get("description") or "")
        resources.update(connection, version, now)
        if (vertex := version_rows.vertex_version(connection, version)) is not None:
            vertex.body["versionDescription"] = version.body["description"]
            model_store.change_version(connection, vertex, now)
        return {"model_version": version_rows.render(model, version)}


@implements("mlflow", "model-versions.transitionModelVersionStage")
def transition_stage(call: Call) -> dict[str, Any]:
    stage, now = version_rows.stage_of(str(call.body.get("stage", ""))), call.rooms.clock.now()
    archive = bool(call.body.get("archive_existing_versions"))
    if archive and stage not in ("Staging", "Production"):
        raise InvalidArgument(
            "archive_existing_versions goes with the stages Staging and Production.",
            field="archive_existing_versions",
        )
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        version = require_version(connection, model, call.body.get("version"))
        for other in versions(connection, model) if archive else []:
            if other.body["stage"] == stage and other.name != version.name:
                other.body["stage"] = "Archived"
                resources.update(connection, other, now)
        version.body["stage"] = stage
        resources.update(connection, version, now)
        resources.update(connection, model, now)
        return {"model_version": version_rows.render(model, version)}


@implements("mlflow", "model-versions.deleteModelVersion")
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        version = require_version(connection, model, call.body.get("version"))
        garbage = version_rows.remove(call, connection, version)
        aliases = model.body["aliases"]
        model.body["aliases"] = {k: v for k, v in aliases.items() if v != version.body["version"]}
        resources.update(connection, model, call.rooms.clock.now())
    model_store.drop_artifacts(call.rooms.home, garbage)
    return {}


@implements("mlflow", "model-versions.setModelVersionTag")
def set_tag(call: Call) -> dict[str, Any]:
    return _tagged(call, runs.checked_tags([call.body]))


@implements("mlflow", "model-versions.deleteModelVersionTag")
def delete_tag(call: Call) -> dict[str, Any]:
    return _tagged(call, {})


def _tagged(call: Call, tags: Mapping[str, str]) -> dict[str, Any]:
    """Sets tags, or, without any, removes the one that the call names."""
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        version = require_version(connection, model, call.body.get("version"))
        version.body["tags"] |= tags
        if not tags and version.body["tags"].pop(str(call.body.get("key", "")), None) is None:
            raise NotFound(f"The version has no tag {call.body.get('key')!r}.")
        resources.update(connection, version, call.rooms.clock.now())
    return {}


def _value(pair: tuple[Resource, Resource], kind: str, key: str) -> Any:
    model, version = pair
    if kind == "tag":
        # A prompt's versions are prompts, whether they say so or not.
        return tag_of((version if key != PROMPT else model).body["tags"], key)
    own = {
        "name": model.body["name"],
        "version_number": int(version.body["version"]),
        "creation_timestamp": milliseconds(version.create_time),
        "last_updated_timestamp": milliseconds(version.update_time),
    }
    return own[key] if key in own else version.body.get(key)


_LANGUAGE = Language(
    attributes={
        **{
            key: key
            for key in ("name", "version_number", "run_id", "creation_timestamp", "last_updated_timestamp",
                        "model_id", "status", "source")
        },
        "source_path": "source",
        "version": "version_number",
        "current_stage": "stage",
    },
    value=_value,
    numbers=frozenset({"version_number", "creation_timestamp", "last_updated_timestamp"}),
)  # fmt: skip


@implements("mlflow", "model-versions.searchModelVersions")
def search(call: Call) -> dict[str, Any]:
    asked = call.params
    text = str(asked.get("filter") or "")
    passes = _LANGUAGE.filter(text)
    with call.rooms.database.read() as connection:
        found = [
            (model, version)
            for model in no_prompts(resources.listed(connection, KIND, place_of(call)), text)
            for version in no_prompts(resources.listed(connection, VERSION_KIND, model.name), text)
            if passes((model, version))
        ]
    found.sort(key=lambda pair: (-pair[1].update_time, pair[0].body["name"], -int(pair[1].body["version"])))
    some, more = page(_LANGUAGE.sorted(found, asked.get("order_by") or []), asked, 10_000, 200_000)
    return {"model_versions": [version_rows.render(*pair) for pair in some], **more}
