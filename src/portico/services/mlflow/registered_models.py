"""The model registry: registered models, with their tags and aliases. Their versions are Models of Vertex AI, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.mlflow import runs, version_rows
from portico.services.mlflow.experiments import milliseconds, place_of, shown_pairs
from portico.services.mlflow.search import Language, page
from portico.services.mlflow.version_rows import KIND, STAGES, by_name, require, versions
from portico.services.registry import model_store
from portico.store import resource_index, resources
from portico.store.resources import Resource

_LONGEST_NAME = 256
PROMPT = "mlflow.prompt.is_prompt"

resource_index.declare(KIND, frozenset({"name"}))


def _check_name(connection: Connection, call: Call, name: str) -> None:
    if not name.strip() or len(name) > _LONGEST_NAME or any(c in name for c in "/:"):
        raise InvalidArgument(
            f"A registered model's name has 1 to {_LONGEST_NAME} characters, without '/' and ':'.",
            field="name",
        )
    if by_name(connection, place_of(call), name) is not None:
        raise AlreadyExists(f"Registered Model (name={name}) already exists.")


def render(connection: Connection, model: Resource) -> dict[str, Any]:
    body = model.body
    every = versions(connection, model)
    newest = {version.body["stage"]: version for version in every}  # the oldest first
    return {
        "name": body["name"],
        "creation_timestamp": milliseconds(model.create_time),
        "last_updated_timestamp": milliseconds(model.update_time),
        "description": body["description"],
        "tags": shown_pairs(body["tags"]),
        "aliases": [{"alias": alias, "version": number} for alias, number in body["aliases"].items()],
        "latest_versions": [version_rows.render(model, version) for version in newest.values()],
    }


@implements("mlflow", "registered-models.createRegisteredModel")
def create(call: Call) -> dict[str, Any]:
    name, place = str(call.body.get("name", "")), place_of(call)
    body = {
        "name": name,
        "description": str(call.body.get("description") or ""),
        "tags": runs.checked_tags(call.body.get("tags")),
        "aliases": {},
        "last": 0,
        "model": "",
    }
    own = f"{place}/registeredModels/{call.rooms.ids.token()}"
    with call.rooms.database.write() as connection:
        _check_name(connection, call, name)
        made = resources.insert(
            connection, name=own, kind=KIND, parent=place, body=body, now=call.rooms.clock.now()
        )
        assert made is not None  # the id is new
        return {"registered_model": render(connection, made)}


@implements("mlflow", "registered-models.getRegisteredModel")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return {"registered_model": render(connection, require(connection, call, call.params.get("name")))}


@implements("mlflow", "registered-models.updateRegisteredModel")
def update(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        model.body["description"] = str(call.body.get("description") or "")
        resources.update(connection, model, call.rooms.clock.now())
        return {"registered_model": render(connection, model)}


@implements("mlflow", "registered-models.renameRegisteredModel")
def rename(call: Call) -> dict[str, Any]:
    name, now = str(call.body.get("new_name", "")), call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        _check_name(connection, call, name)
        model.body["name"] = name
        resources.update(connection, model, now)
        for version in versions(connection, model):
            if (vertex := version_rows.vertex_version(connection, version)) is not None:
                vertex.body["displayName"] = version_rows.display_name(name)
                model_store.change_version(connection, vertex, now)
        return {"registered_model": render(connection, model)}


@implements("mlflow", "registered-models.deleteRegisteredModel")
def delete(call: Call) -> dict[str, Any]:
    """With all its versions; refused while an endpoint serves one."""
    garbage: list[str] = []
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        for version in versions(connection, model):
            garbage += version_rows.remove(call, connection, version)
        resources.delete(connection, model.name)
    model_store.drop_artifacts(call.rooms.home, garbage)
    return {}


@implements("mlflow", "registered-models.getLatestVersions")
def get_latest_versions(call: Call) -> dict[str, Any]:
    asked = {**call.params, **call.body}
    stages = [_stage(one) for one in asked.get("stages") or []] or list(STAGES)
    with call.rooms.database.read() as connection:
        latest = render(connection, require(connection, call, asked.get("name")))["latest_versions"]
    return {"model_versions": [one for one in latest if one["current_stage"] in stages]}


def _stage(given: Any) -> str:
    return version_rows.stage_of(str(given))


@implements("mlflow", "registered-models.setRegisteredModelTag")
def set_tag(call: Call) -> dict[str, Any]:
    tags = runs.checked_tags([call.body])
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        model.body["tags"] |= tags
        resources.update(connection, model, call.rooms.clock.now())
    return {}


@implements("mlflow", "registered-models.deleteRegisteredModelTag")
def delete_tag(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        model.body["tags"].pop(str(call.body.get("key", "")), None)
        resources.update(connection, model, call.rooms.clock.now())
    return {}


@implements("mlflow", "registered-models.setRegisteredModelAlias")
def set_alias(call: Call) -> dict[str, Any]:
    alias = str(call.body.get("alias", ""))
    if not alias or len(alias) > 255 or alias == "latest" or alias.lower().lstrip("v").isdigit():
        raise InvalidArgument(
            f"{alias[:80]!r} can't be an alias: it has 1 to 255 characters and is neither 'latest' nor a version.",
            field="alias",
        )
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        version = version_rows.require_version(connection, model, call.body.get("version"))
        model.body["aliases"][alias] = version.body["version"]
        resources.update(connection, model, call.rooms.clock.now())
        version_rows.show_alias(connection, model, alias, version, call.rooms.clock.now())
    return {}


@implements("mlflow", "registered-models.deleteRegisteredModelAlias")
def delete_alias(call: Call) -> dict[str, Any]:
    alias = str(call.body.get("alias", ""))
    with call.rooms.database.write() as connection:
        model = require(connection, call, call.body.get("name"))
        if model.body["aliases"].pop(alias, None) is not None:
            resources.update(connection, model, call.rooms.clock.now())
            version_rows.show_alias(connection, model, alias, None, call.rooms.clock.now())
    return {}


@implements("mlflow", "registered-models.getModelVersionByAlias")
def get_by_alias(call: Call) -> dict[str, Any]:
    alias = str(call.params.get("alias", ""))
    with call.rooms.database.read() as connection:
        model = require(connection, call, call.params.get("name"))
        if alias not in model.body["aliases"]:
            raise NotFound(f"Registered model alias {alias} not found.")
        version = version_rows.require_version(connection, model, model.body["aliases"][alias])
        return {"model_version": version_rows.render(model, version)}


# --- search ---


def _value(model: Resource, kind: str, key: str) -> Any:
    if kind == "tag":
        return tag_of(model.body["tags"], key)
    times = {"creation_timestamp": model.create_time, "last_updated_timestamp": model.update_time}
    return milliseconds(times[key]) if key in times else model.body[key]


_LANGUAGE = Language(
    attributes={
        **{key: key for key in ("name", "creation_timestamp", "last_updated_timestamp")},
        "timestamp": "last_updated_timestamp",
    },
    value=_value,
    numbers=frozenset({"creation_timestamp", "last_updated_timestamp"}),
)


@implements("mlflow", "registered-models.searchRegisteredModels")
def search(call: Call) -> dict[str, Any]:
    asked = call.params
    text = str(asked.get("filter") or "")
    passes = _LANGUAGE.filter(text)
    with call.rooms.database.read() as connection:
        every = resources.listed(connection, KIND, place_of(call))
        found = [model for model in no_prompts(every, text) if passes(model)]
        found.sort(key=lambda model: str(model.body["name"]))
        some, more = page(_LANGUAGE.sorted(found, asked.get("order_by") or []), asked, 100, 1000)
        return {"registered_models": [render(connection, model) for model in some], **more}


def no_prompts(found: Iterable[Resource], text: str) -> list[Resource]:
    """Without the prompts that MLflow keeps among its models, unless the filter asks for them."""
    return [one for one in found if PROMPT in text or not is_prompt(one.body["tags"])]


def tag_of(tags: Mapping[str, str], key: str) -> str | None:
    """A tag as filters see it. MLflow's client asks for the models that are no prompts by a tag that these lack."""
    return tags.get(key, "false" if key == PROMPT else None)


def is_prompt(tags: Mapping[str, str]) -> bool:
    return tags.get(PROMPT, "").lower() == "true"
