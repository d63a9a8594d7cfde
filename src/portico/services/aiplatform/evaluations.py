"""Model evaluations and their slices: what a training measured, and what a caller imports."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.registry import model_store
from portico.services.registry.evaluations import EVALUATIONS, SLICES, add, add_slices
from portico.services.standard.collection import Collection, page
from portico.store import resources
from portico.store.resources import Resource

_BATCH = 50  # slices: Google's limit
_TIMES = frozenset({"updateTime"})  # neither message has it


def _without_version(name: str) -> str:
    """`…/models/M@1/evaluations/E` as `…/models/M/evaluations/E`, under which it is kept."""
    head, _, tail = name.partition("/evaluations")
    return model_store.split(head)[0] + "/evaluations" + tail


def _render(collection: Collection, found: Resource) -> dict[str, Any]:
    return {key: value for key, value in collection.render(found).items() if key not in _TIMES}


@implements("aiplatform", EVALUATIONS.method("get"))
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _render(EVALUATIONS, EVALUATIONS.require(connection, _without_version(call.name)))


@implements("aiplatform", EVALUATIONS.method("list"))
def list_(call: Call) -> dict[str, Any]:
    """The evaluations of a version; of the default one where the parent names none."""
    with call.rooms.database.read() as connection:
        version = model_store.version_row(connection, str(call.params["parent"]))
        return page(call, EVALUATIONS, lambda after, limit: (
            _render(EVALUATIONS, e)
            for e in resources.listed(connection, EVALUATIONS.kind, version.name, after=after, limit=limit)
        ))  # fmt: skip


@implements("aiplatform", EVALUATIONS.method("import"))
def import_(call: Call) -> dict[str, Any]:
    given = call.body["modelEvaluation"]
    if not given.get("metricsSchemaUri") or "metrics" not in given:
        raise InvalidArgument(
            "modelEvaluation needs metrics and the metricsSchemaUri that they follow.",
            field="modelEvaluation.metrics",
        )
    with call.rooms.database.write() as connection:
        version = model_store.version_row(connection, str(call.params["parent"]))
        made = add(connection, version, call.rooms.ids.number(), given, call.rooms.clock.now())
        return _render(EVALUATIONS, made)


@implements("aiplatform", EVALUATIONS.method("batchImportSlices"))
def import_slices(call: Call) -> dict[str, Any]:
    """Adds slices to an evaluation: all of them or none."""
    given = list(call.body["modelEvaluationSlices"])
    if len(given) > _BATCH:
        raise InvalidArgument(f"At most {_BATCH} slices are imported at once.", field="modelEvaluationSlices")
    for place, one in enumerate(given):
        lacking = [name for name in ("slice", "metrics", "metricsSchemaUri") if not one.get(name)]
        if lacking:
            field = f"modelEvaluationSlices[{place}].{lacking[0]}"
            raise InvalidArgument(
                f"{field} is missing: each slice says what it is of, and its metrics.", field=field
            )
    with call.rooms.database.write() as connection:
        evaluation = EVALUATIONS.require(connection, _without_version(str(call.params["parent"])))
        version = resources.get(connection, evaluation.parent)
        assert version is not None
        number = evaluation.name.rpartition("/")[2]
        names = add_slices(
            connection, version, number, call.rooms.ids.number(), given, call.rooms.clock.now()
        )
    return {"importedModelEvaluationSlices": names}


@implements("aiplatform", SLICES.method("get"))
def get_slice(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _render(SLICES, SLICES.require(connection, _without_version(call.name)))


@implements("aiplatform", SLICES.method("list"))
def list_slices(call: Call) -> dict[str, Any]:
    parent = _without_version(str(call.params["parent"]))
    with call.rooms.database.read() as connection:
        EVALUATIONS.require(connection, parent)
        return page(call, SLICES, lambda after, limit: (
            _render(SLICES, s)
            for s in resources.listed(connection, SLICES.kind, parent, after=after, limit=limit)
        ))  # fmt: skip
