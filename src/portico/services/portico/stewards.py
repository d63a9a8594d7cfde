"""Stewards: who looks after which deployed model, and how. The work is in `steward/`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.call import Call, implements
from portico.services.portico.steward import check as steward_check
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward import spec as steward_spec
from portico.services.standard import standing
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.names import LABEL_ID, check_same_location
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate, await_served, sample
from portico.store import resources, windows
from portico.store.resources import Private, Resource

_DATASETS = "aiplatform:datasets"


class StewardPrivate(Private):
    """`pipeline` is the training that its retrainings repeat; `data`, as asked and as that training has it; `episode`
    the open one; `began` when it first looked, and `next` when it looks again; `cool_down` until when it opens no
    episode; `retrainings` [time, milli node hours] of each; `references` by deployed model and metric; `drift` up to
    which prediction it has looked for drift; `estimates` what it will hold to the truth. Times are domain time in
    seconds."""

    pipeline: dict[str, Any] | None = None
    data: dict[str, Any] = {}
    episode: str | None = None
    began: float | None = None
    next: float | None = None
    cool_down: float = 0.0
    retrainings: list[tuple[float, float | int]] = []
    references: dict[str, dict[str, float | None]] = {}
    drift: dict[str, Any] = {}
    estimates: list[dict[str, Any]] = []


class EpisodePrivate(Private):
    """`tried` are the actions it has taken; `since` when it entered its state; `job` what makes or deploys the
    challenger, which has seen nothing from `cutoff` on nor the labels `withheld`, as of the labels' `change`; `facts`
    what making it told; `split` the traffic as this episode left it. Times are domain time in seconds."""

    tried: list[str] = []
    since: float = 0.0
    job: str = ""
    cutoff: float = 0.0
    withheld: list[str] = []
    change: int = 0
    facts: dict[str, Any] = {}
    split: dict[str, int] = {}


class Stewards(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if not body.get("endpoint"):
            raise InvalidArgument("endpoint is missing: whose model to look after.", field="endpoint")
        check_same_location(resource.parent, body["endpoint"], "endpoint")
        endpoint = ENDPOINTS.require(connection, body["endpoint"])
        for other in resources.listed(connection, self.kind):
            if other.body["endpoint"] == endpoint.name and other.name != resource.name:
                raise FailedPrecondition(
                    f"The Endpoint {endpoint.name} is looked after by {other.name}; delete that first."
                )
        if before is None:
            body |= {"state": "ACTIVE", "status": {"message": "It has not looked yet."}}
        private = StewardPrivate.of(resource)
        private.pipeline, private.data = _checked(connection, body, endpoint)
        private.next = None  # it looks at once with what is asked now

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> After:
        """The fronts log what the steward watches, and hold out the share that it asks for."""
        endpoint = ENDPOINTS.require(connection, resource.body["endpoint"])
        holdout = float((resource.body.get("influence") or {}).get("holdout", 0.0))
        EndpointPrivate.of(endpoint).holdout = holdout
        version = sample(call, connection, endpoint, "steward", 1.0)
        return lambda: await_served(call, version)

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        """Its episodes and alerts go with it, but for an open one."""
        if open_now := StewardPrivate.of(resource).episode:
            raise FailedPrecondition(f"{open_now} is open; wait for its end, or reject it first.")
        standing.end(connection, resource.name)
        windows.delete(connection, resource.name)
        endpoint = resources.get(connection, resource.body["endpoint"])
        if endpoint is None:
            return call.rooms.queue.wake
        EndpointPrivate.of(endpoint).holdout = 0.0
        version = sample(call, connection, endpoint, "steward", 0.0)

        def after() -> None:
            call.rooms.queue.wake()
            await_served(call, version)

        return after


class Episodes(Collection):
    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        files = evidence_of(resource)
        return lambda: steward_evidence.remove(call.rooms.home, files)


STEWARDS = Stewards(
    "projects.locations.stewards",
    "Steward",
    api="portico",
    output_only=frozenset({"state", "status"}),
    immutable=frozenset({"endpoint"}),
    ids=LABEL_ID,
    cascade=True,
)
register(STEWARDS, "create", "get", "list", "patch", "delete")
EPISODES = Episodes("projects.locations.stewards.episodes", "Episode", api="portico", has_etag=False)
KIND = register_kind(
    JobKind("stewards.look", "portico.services.portico.steward.run:run", lambda *_: None, lane="watch")
).name
ENDED = frozenset({"PROMOTED", "REJECTED", "ROLLED_BACK", "ABANDONED"})


@implements("portico", STEWARDS.method("pause"), STEWARDS.method("resume"))
def pause_or_resume(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        steward = STEWARDS.require(connection, call.name)
        steward.body["state"] = "PAUSED" if call.method.endswith("pause") else "ACTIVE"
        return STEWARDS.render(resources.update(connection, steward, call.rooms.clock.now()))


def _checked(
    connection: Connection, body: dict[str, Any], endpoint: Resource
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Checks the spec against what is deployed; the `pipeline` and the `data` of a steward that has it.

    Raises:
        InvalidArgument, NotFound: naming the field. FailedPrecondition: nothing is deployed.
    """
    spec = steward_spec.spec_of(body)
    champion = champion_of(endpoint)
    if champion is None:
        raise FailedPrecondition(f"{endpoint.name} has no deployed model to look after; deploy one first.")
    version = resources.get(connection, f"{champion['model']}@{champion['modelVersionId']}")
    if version is None:
        raise NotFound(f"The Model {champion['model']} does not exist.")
    metadata = version.body.get("metadata") or {}
    kind, classes = metadata.get("predictionType", ""), metadata.get("classes") or []
    if not kind:
        kind, classes = steward_check.told(spec, champion["id"])
    elif spec.model.prediction_type or spec.model.classes:
        raise InvalidArgument(
            f"model is for models that don't say what they predict; {champion['id']} says so itself.",
            field="model",
        )
    steward_check.check(spec, kind, classes)
    pipeline = resources.get(connection, version.body.get("trainingPipeline", ""))
    if pipeline is None:
        if "RETRAIN" in spec.actions:
            raise FailedPrecondition(
                "actions has RETRAIN, but the training pipeline of the deployed model is gone; without it nobody "
                "knows how to train another."
            )
        return None, {}
    inputs = pipeline.body["trainingTaskInputs"]
    config = pipeline.body.get("inputDataConfig") or {}
    parent = endpoint.name.partition("/endpoints/")[0]
    data = {
        "dataset": f"{parent}/datasets/{config.get('datasetId', '').rpartition('/')[2]}",
        "target": (version.body.get("metadata") or {}).get("targetColumn", ""),
        "timeColumn": (config.get("timestampSplit") or {}).get("key", ""),
        **{key: value for key, value in (body.get("data") or {}).items() if value},
    }
    _check_data(connection, data)
    made = {"trainingTaskInputs": inputs, "inputDataConfig": config, "name": pipeline.name}
    return made, data


def _check_data(connection: Connection, data: dict[str, Any]) -> None:
    dataset = resources.get(connection, data["dataset"])
    if dataset is None or dataset.kind != _DATASETS:
        raise NotFound(f"data.dataset: the Dataset {data['dataset']!r} does not exist.")
    statistics = dataset.body["metadata"].get("statistics") or {"columns": []}
    columns = [column["name"] for column in statistics["columns"]]
    for field in ("target", "timeColumn"):
        if data[field] and columns and data[field] not in columns:
            raise InvalidArgument(
                f"data.{field} is {data[field]!r}; the dataset has {', '.join(columns)}.",
                field=f"data.{field}",
            )


def champion_of(endpoint: Resource) -> dict[str, Any] | None:
    """The deployed model with the most traffic; of equals the first."""
    split = endpoint.body.get("trafficSplit") or {}
    held = endpoint.body.get("deployedModels") or []
    return max(held, key=lambda d: split.get(d["id"], 0), default=None)


def deployed_json(deployed: dict[str, Any]) -> dict[str, Any]:
    return {
        "deployedModelId": deployed["id"],
        "model": deployed["model"],
        "modelVersionId": deployed["modelVersionId"],
    }


def evidence_of(episode: Resource) -> list[str]:
    return [d["evidence"] for d in episode.body.get("decisions", []) if d.get("evidence")]


# --- episodes ---------------------------------------------------------------------------------------------

register(EPISODES, "get", "list")


@implements("portico", EPISODES.method("approve"), EPISODES.method("reject"))
def approve_or_reject(call: Call) -> dict[str, Any]:
    from portico.store import domain_clock

    approved = call.method.endswith("approve")
    with call.rooms.database.write() as connection:
        episode = EPISODES.require(connection, call.name)
        state = episode.body["state"]
        if state in ENDED:
            raise FailedPrecondition(f"{episode.name} has ended: it is {state}.")
        if approved and state != "AWAITING_APPROVAL":
            raise FailedPrecondition(f"{episode.name} awaits no approval: it is {state}.")
        episode.body["approvals"] = [
            *episode.body.get("approvals", []),
            {
                "approved": approved,
                "by": call.caller.email or "anonymous",
                "time": rfc3339(domain_clock.now(connection, call.rooms.clock)),
                "comment": call.body.get("comment", ""),
            },
        ]
        return EPISODES.render(resources.update(connection, episode, call.rooms.clock.now()))


@implements("portico", EPISODES.method("replay"))
def replay(call: Call) -> dict[str, Any]:
    """Makes every decision again from its rule, its facts and its rows; nothing is trained or changed."""
    from portico.services.portico.steward.replay import replayed

    with call.rooms.database.read() as connection:
        episode = EPISODES.require(connection, call.name)
    found = [replayed(call.rooms.home, record) for record in episode.body.get("decisions", [])]
    return {"agrees": all(d["agrees"] for d in found), "decisions": found}
