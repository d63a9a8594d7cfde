"""Registered models and their versions as they are kept; and the versions of Vertex AI's Models that they are there."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call
from portico.services.mlflow.experiments import milliseconds, place_of, shown_pairs, slug
from portico.services.registry import model_store
from portico.services.registry.model_store import MODELS
from portico.services.standard import collection
from portico.services.standard.names import check_aliases
from portico.store import resources
from portico.store.resources import Resource

KIND = "mlflow:registeredModels"
VERSION_KIND = "mlflow:registeredModels.versions"
STAGES = ("None", "Staging", "Production", "Archived")
_LONGEST_ID = 50
_SHOWN = 128  # characters of a display name


def by_name(connection: Connection, place: str, name: str) -> Resource | None:
    for one in resources.listed(connection, KIND, place, wanted={"name": name}):
        if one.body["name"] == name:
            return one
    return None


def require(connection: Connection, call: Call, name: Any) -> Resource:
    """
    Raises:
        NotFound: there is no registered model of that name.
    """
    found = by_name(connection, place_of(call), str(name or ""))
    if found is None:
        raise NotFound(f"Registered Model with name={name} not found.")
    return found


def require_version(connection: Connection, model: Resource, number: Any) -> Resource:
    """
    Raises:
        NotFound: the model has no such version. InvalidArgument: it is no number.
    """
    if not str(number or "").isdecimal():
        raise InvalidArgument(f"{number!r} is no version of a model: versions are numbers.", field="version")
    found = resources.get(connection, f"{model.name}/versions/{int(number)}")
    if found is None or found.kind != VERSION_KIND:
        raise NotFound(f"Model Version (name={model.body['name']}, version={number}) not found.")
    return found


def versions(connection: Connection, model: Resource) -> list[Resource]:
    """All versions of a model, the oldest first."""
    return list(resources.listed(connection, VERSION_KIND, model.name))[::-1]


def stage_of(given: str) -> str:
    """
    Raises:
        InvalidArgument: there is no such stage.
    """
    found = {stage.lower(): stage for stage in STAGES}.get(given.lower())
    if found is None:
        raise InvalidArgument(f"There is no stage {given!r}; there are {', '.join(STAGES)}.", field="stage")
    return found


def render(model: Resource, version: Resource) -> dict[str, Any]:
    body = version.body
    given = {
        key: body[key]
        for key in ("run_id", "run_link", "model_id", "status_message", "description")
        if body.get(key)
    }
    return {
        "name": model.body["name"],
        "version": body["version"],
        "creation_timestamp": milliseconds(version.create_time),
        "last_updated_timestamp": milliseconds(version.update_time),
        "current_stage": body["stage"],
        "source": body["source"],
        "status": body["status"],
        "tags": shown_pairs(body["tags"]),
        "aliases": [alias for alias, of in model.body["aliases"].items() if of == body["version"]],
        **given,
    }


# --- the same on Vertex AI ---


def display_name(name: str) -> str:
    return name[:_SHOWN]


def model_id(connection: Connection, call: Call, model: Resource) -> str:
    """The id of the Vertex AI Model that a registered model is; chosen with its first version."""
    if not model.body["model"]:
        own = slug(model.body["name"], _LONGEST_ID) or "model"
        own = own if own[0].isalpha() else f"m-{own}"
        taken = resources.get(connection, f"{place_of(call)}/models/{own}") is not None
        model.body["model"] = f"{own}-{call.rooms.ids.token()[:8]}" if taken else own
    return str(model.body["model"])


def vertex_version(connection: Connection, version: Resource) -> Resource | None:
    """The version of a Vertex AI Model that this one is; None where it is none, or was deleted."""
    name = version.body.get("vertex")
    found = resources.get(connection, name) if name else None
    return found if found is not None and found.kind == model_store.VERSION_KIND else None


def show_alias(
    connection: Connection, model: Resource, alias: str, version: Resource | None, now: float
) -> None:
    """Moves an alias that Vertex AI's versions can have, too, to a version, or takes it away."""
    try:
        check_aliases([alias])
    except InvalidArgument:
        return
    if alias == "default":
        return
    wanted = version.body.get("vertex") if version is not None else None
    for one in versions(connection, model):
        vertex = vertex_version(connection, one)
        if vertex is None:
            continue
        held = [other for other in vertex.body["versionAliases"] if other != alias]
        if vertex.name == wanted:
            held.append(alias)
        if held != vertex.body["versionAliases"]:
            vertex.body["versionAliases"] = held
            model_store.change_version(connection, vertex, now)


def remove(call: Call, connection: Connection, version: Resource) -> list[str]:
    """Removes a version, also of the Vertex AI Model; the folders of its files, for `drop_artifacts` after the commit.

    Raises:
        FailedPrecondition: an endpoint serves it.
    """
    resources.delete(connection, version.name)
    vertex = vertex_version(connection, version)
    if vertex is None:
        return []
    others = [
        one
        for one in resources.listed(connection, model_store.VERSION_KIND, vertex.parent)
        if one.name != vertex.name
    ]
    if "default" in vertex.body["versionAliases"] and others:
        model_store.require_undeployed(vertex)
        model_store.make_default(connection, others[0], call.rooms.clock.now())  # the newest
    artifact = model_store.delete_version(connection, vertex)
    if not others:
        collection.remove(call, connection, MODELS.require(connection, vertex.parent))
    return [] if model_store.artifact_in_use(connection, artifact) else [artifact]
