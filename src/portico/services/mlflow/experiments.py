"""Experiments: contexts of ML Metadata, so that Vertex's `aiplatform.Experiment` is the same one.

An experiment's id is that of its context, but for MLflow's "Default", which is "0" on the wire. The experiments that
Vertex's client made are shown too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.services.call import Call, Rooms, implements
from portico.services.mlflow.search import Language, page
from portico.services.registry import metadata
from portico.store import resources
from portico.store.resources import Private, Resource

DEFAULT = "0"
_DEFAULT_CONTEXT = "default"
_PLACE = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_LONGEST_NAME = 500
_LONGEST_ID = 63
_SHOWN = 128  # characters of a display name


class ExperimentPrivate(Private):
    """What MLflow knows of an experiment. `name` is "" where Vertex's client made it and its display name is meant;
    `location` is "" where its artifacts are here; times are milliseconds since the epoch."""

    name: str = ""
    location: str = ""
    tags: dict[str, str] = {}
    updated: int = 0
    deleted: bool = False


def place_of(call: Call) -> str:
    """`projects/P/locations/L` of a request.

    Raises:
        InvalidArgument: these are no names.
    """
    project, location = call.params["project"], call.params["location"]
    if not (_PLACE.fullmatch(project) and _PLACE.fullmatch(location)):
        raise InvalidArgument(f"{project[:60]!r} and {location[:60]!r} are no project and location.")
    return f"projects/{project}/locations/{location}"


def store_of(call: Call) -> str:
    return f"{place_of(call)}/{metadata.DEFAULT}"


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def name_of(experiment: Resource) -> str:
    return ExperimentPrivate.of(experiment).name or str(
        experiment.body.get("displayName") or id_of(experiment)
    )


def id_of(experiment: Resource) -> str:
    """Its id on MLflow's wire."""
    return wire_id(experiment.name)


def wire_id(context: str) -> str:
    """The id on the wire of the experiment of that full name."""
    own = context.rpartition("/")[2]
    return DEFAULT if own == _DEFAULT_CONTEXT else own


def context_name(call: Call, given: Any) -> str:
    """The full name of the experiment of that id."""
    return f"{store_of(call)}/contexts/{_DEFAULT_CONTEXT if given == DEFAULT else given}"


def location(experiment: Resource) -> str:
    """Where its runs' artifacts go."""
    return ExperimentPrivate.of(experiment).location or f"mlflow-artifacts:/{id_of(experiment)}"


def require(connection: Connection, call: Call, given: Any, *, active: bool = False) -> Resource:
    """The experiment of that id.

    Raises:
        NotFound: there is none. InvalidArgument: it is deleted, and an `active` one is asked for.
    """
    found = resources.get(connection, context_name(call, given))
    if found is None or not is_experiment(found):
        raise NotFound(f"There is no experiment with the id {given!r}.")
    if active and ExperimentPrivate.of(found).deleted:
        raise InvalidArgument(
            f"The experiment {given!r} is deleted; restore it first.", field="experiment_id"
        )
    return found


def is_experiment(context: Resource) -> bool:
    return context.kind == metadata.CONTEXT_KIND and context.body.get("schemaTitle") == metadata.EXPERIMENT


def ensure_default(call: Call, given: Any = DEFAULT) -> None:
    """Makes MLflow's "Default", where that is asked for and isn't there yet."""
    name = context_name(call, DEFAULT)
    if given != DEFAULT:
        return
    with call.rooms.database.read() as connection:
        if resources.get(connection, name) is not None:
            return
    with call.rooms.database.write() as connection:
        _add(connection, name, "Default", "", {}, call.rooms.clock.now())


def _add(
    connection: Connection, name: str, display: str, place: str, tags: Mapping[str, str], now: float
) -> Resource | None:
    private = ExperimentPrivate(display, place, dict(tags), milliseconds(now))
    facts = {"experiment_deleted": False}
    return metadata.add_context(
        connection, name, display[:_SHOWN], metadata.EXPERIMENT, facts, now, private=private
    )


def slug(text: str, longest: int) -> str:
    """`text` as an id of ML Metadata: "" where nothing of it can stand there."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:longest].strip("-")


def tags_of(given: Any) -> dict[str, str]:
    """Tags or parameters as they come, by key.

    Raises:
        InvalidArgument: one has no key.
    """
    found = {str(one.get("key", "")): str(one.get("value", "")) for one in given or []}
    if "" in found:
        raise InvalidArgument("A tag needs a key.", field="tags")
    return found


def shown_pairs(pairs: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs.items()]


def by_name(connection: Connection, store: str, name: str) -> Resource | None:
    wanted = {"displayName": name[:_SHOWN], "schemaTitle": metadata.EXPERIMENT}
    for one in resources.listed(connection, metadata.CONTEXT_KIND, store, wanted=wanted):
        if is_experiment(one) and name_of(one) == name:
            return one
    return None


def _check_name(connection: Connection, call: Call, name: str) -> None:
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise InvalidArgument(f"An experiment's name has 1 to {_LONGEST_NAME} characters.", field="name")
    taken = by_name(connection, store_of(call), name)
    if taken is not None:
        state = (
            " and is deleted: restore it, or choose another name"
            if ExperimentPrivate.of(taken).deleted
            else ""
        )
        raise AlreadyExists(f"The experiment {name!r} already exists{state}.")


def render(experiment: Resource) -> dict[str, Any]:
    kept = ExperimentPrivate.of(experiment)
    return {
        "experiment_id": id_of(experiment),
        "name": name_of(experiment),
        "artifact_location": location(experiment),
        "lifecycle_stage": "deleted" if kept.deleted else "active",
        "creation_time": milliseconds(experiment.create_time),
        "last_update_time": kept.updated or milliseconds(experiment.update_time),
        "tags": shown_pairs(kept.tags),
    }


@implements("mlflow", "experiments.createExperiment")
def create(call: Call) -> dict[str, Any]:
    name, place = str(call.body.get("name", "")), str(call.body.get("artifact_location") or "").rstrip("/")
    tags = tags_of(call.body.get("tags"))
    ensure_default(call)
    with call.rooms.database.write() as connection:
        _check_name(connection, call, name)
        own = slug(name, _LONGEST_ID)
        if not own or own == DEFAULT:
            own = f"experiment-{call.rooms.ids.token()[:8]}"
        contexts = f"{store_of(call)}/contexts"
        for made in (own, f"{own[: _LONGEST_ID - 9]}-{call.rooms.ids.token()[:8]}"):
            context = f"{contexts}/{made}"
            if added := _add(connection, context, name, place, tags, call.rooms.clock.now()):
                return {"experiment_id": id_of(added)}
    raise AlreadyExists(f"There are too many experiments like {name!r}; choose another name.")


@implements("mlflow", "experiments.getExperiment")
def get(call: Call) -> dict[str, Any]:
    given = call.params.get("experiment_id", "")
    ensure_default(call, given)
    with call.rooms.database.read() as connection:
        return {"experiment": render(require(connection, call, given))}


@implements("mlflow", "experiments.getExperimentByName")
def get_by_name(call: Call) -> dict[str, Any]:
    name = str(call.params.get("experiment_name", ""))
    ensure_default(call)
    with call.rooms.database.read() as connection:
        found = by_name(connection, store_of(call), name)
    if found is None:
        raise NotFound(f"There is no experiment with the name {name!r}.")
    return {"experiment": render(found)}


def _value(experiment: Resource, kind: str, key: str) -> Any:
    if kind == "tag":
        return ExperimentPrivate.of(experiment).tags.get(key)
    return render(experiment)[key]


_LANGUAGE = Language(
    attributes={
        key: key for key in ("name", "experiment_id", "creation_time", "last_update_time", "lifecycle_stage")
    },
    value=_value,
    numbers=frozenset({"creation_time", "last_update_time"}),
)


@implements("mlflow", "experiments.searchExperiments")
def search(call: Call) -> dict[str, Any]:
    asked = {**call.params, **call.body}
    passes = _LANGUAGE.filter(str(asked.get("filter") or ""))
    ensure_default(call)
    with call.rooms.database.read() as connection:
        found = [
            one
            for one in resources.listed(
                connection, metadata.CONTEXT_KIND, store_of(call), wanted={"schemaTitle": metadata.EXPERIMENT}
            )
            if is_experiment(one)
            and in_view(ExperimentPrivate.of(one).deleted, asked.get("view_type"))
            and passes(one)
        ]
    shown, more = page(_LANGUAGE.sorted(found, asked.get("order_by") or []), asked, 1000, 50_000)
    return {"experiments": [render(one) for one in shown], **more}


def in_view(deleted: bool, view: Any) -> bool:
    """Whether a ViewType shows what is deleted, or what is not."""
    return view == "ALL" or deleted is (view == "DELETED_ONLY")


def _change(call: Call, **changes: Any) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        found = require(connection, call, call.body.get("experiment_id", ""))
        kept = ExperimentPrivate.of(found)
        if "name" in changes and changes["name"] != name_of(found):
            _check_name(connection, call, changes["name"])
            found.body["displayName"] = changes["name"][:_SHOWN]
        if "deleted" in changes:
            if found.name == context_name(call, DEFAULT) and changes["deleted"]:
                raise InvalidArgument("The default experiment can't be deleted.", field="experiment_id")
            found.body.setdefault("metadata", {})["experiment_deleted"] = changes["deleted"]
        for key, value in changes.items():
            setattr(kept, key, value)
        write(connection, found, call.rooms)
    return {}


def write(connection: Connection, experiment: Resource, rooms: Rooms) -> None:
    ExperimentPrivate.of(experiment).updated = milliseconds(rooms.clock.now())
    resources.update(connection, experiment, rooms.clock.now())


@implements("mlflow", "experiments.updateExperiment")
def update(call: Call) -> dict[str, Any]:
    name = str(call.body.get("new_name") or "")
    return _change(call, name=name) if name else {}


@implements("mlflow", "experiments.deleteExperiment")
def delete(call: Call) -> dict[str, Any]:
    return _change(call, deleted=True)


@implements("mlflow", "experiments.restoreExperiment")
def restore(call: Call) -> dict[str, Any]:
    return _change(call, deleted=False)


@implements("mlflow", "experiments.setExperimentTag")
def set_tag(call: Call) -> dict[str, Any]:
    tags = tags_of([call.body])
    with call.rooms.database.write() as connection:
        found = require(connection, call, call.body.get("experiment_id", ""), active=True)
        ExperimentPrivate.of(found).tags |= tags
        write(connection, found, call.rooms)
    return {}


@implements("mlflow", "experiments.deleteExperimentTag")
def delete_tag(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        found = require(connection, call, call.body.get("experiment_id", ""), active=True)
        key = str(call.body.get("key", ""))
        if ExperimentPrivate.of(found).tags.pop(key, None) is None:
            raise NotFound(f"The experiment has no tag {key!r}.")
        write(connection, found, call.rooms)
    return {}
