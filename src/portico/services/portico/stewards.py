"""Stewards: who looks after which deployed model, and how. The work is in `steward/`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound, PorticoError
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.call import Call, implements
from portico.services.portico.steward import check as steward_check
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward import spec as steward_spec
from portico.services.registry import pipeline_runs
from portico.services.standard import standing
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.names import LABEL_ID, check_same_location
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate, await_served, sample
from portico.store import resources, windows
from portico.store.resources import Private, Resource

_DATASETS = "aiplatform:datasets"


class StewardPrivate(Private):
    """`pipeline` is the training that its retrainings repeat; `data`, as asked and as that training has it; `classes`
    those that the models it looks after tell apart; `episode` the open one; `began` when it first looked, and `next`
    when it looks again; `cool_down` until when it opens no episode; `retrainings` [time, milli node hours] of each,
    and `used` [time, {sku: amount}] what the metering says of them; `references` by deployed model and metric;
    `drift` up to which prediction it has looked for drift; `estimates` what it will hold to the truth. Times are
    domain time in seconds."""

    pipeline: dict[str, Any] | None = None
    data: dict[str, Any] = {}
    classes: list[str] = []
    episode: str | None = None
    began: float | None = None
    next: float | None = None
    cool_down: float = 0.0
    retrainings: list[tuple[float, float | int]] = []
    used: list[tuple[float, dict[str, float]]] = []
    references: dict[str, dict[str, float | None]] = {}
    drift: dict[str, Any] = {}
    estimates: list[dict[str, Any]] = []


class EpisodePrivate(Private):
    """`tried` are the actions it has taken; `since` when it entered its state; `job` what makes or deploys the
    challenger, which has seen nothing from `cutoff` on nor the labels `withheld`, as of the labels' `change`; `facts`
    what making it told; `given` what a pipeline got to make it; `asked` the newest job that asks a model which is not
    opened here ("version", "job", "file"); `split` the traffic as this episode left it. Times are domain time in
    seconds."""

    tried: list[str] = []
    since: float = 0.0
    job: str = ""
    cutoff: float = 0.0
    withheld: list[str] = []
    change: int = 0
    facts: dict[str, Any] = {}
    given: dict[str, Any] = {}
    asked: dict[str, str] = {}
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
        _check(call, connection, resource, endpoint)
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
ROLLING_BACK = "ROLLING_BACK"  # a promotion that a person undoes
ENDED = frozenset({"PROMOTED", "REJECTED", "ROLLED_BACK", "ABANDONED"})


@implements("portico", STEWARDS.method("pause"), STEWARDS.method("resume"))
def pause_or_resume(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        steward = STEWARDS.require(connection, call.name)
        steward.body["state"] = "PAUSED" if call.method.endswith("pause") else "ACTIVE"
        return STEWARDS.render(resources.update(connection, steward, call.rooms.clock.now()))


def _check(call: Call, connection: Connection, steward: Resource, endpoint: Resource) -> None:
    """Checks the spec against what is deployed, and notes how another is trained.

    Raises:
        InvalidArgument, NotFound: naming the field. FailedPrecondition: nothing is deployed.
    """
    body, private = steward.body, StewardPrivate.of(steward)
    spec = steward_spec.spec_of(body)
    champion = champion_of(endpoint)
    if champion is None:
        raise FailedPrecondition(f"{endpoint.name} has no deployed model to look after; deploy one first.")
    version = resources.get(connection, f"{champion['model']}@{champion['modelVersionId']}")
    if version is None:
        raise NotFound(f"The Model {champion['model']} does not exist.")
    metadata = version.body.get("metadata") or {}
    kind, classes = metadata.get("predictionType", ""), metadata.get("classes") or []
    by_pipeline = spec.training.pipeline
    said = spec.model.prediction_type.lower(), spec.model.classes
    if not kind:
        kind, classes = steward_check.told(spec, champion["id"])
    elif said[0] and (by_pipeline is None or said != (kind, classes)):
        raise InvalidArgument(
            f"model is for models that don't say what they predict; {champion['id']} says so itself: it is a {kind}"
            + (f" of {', '.join(classes)}." if classes else "."),
            field="model",
        )
    steward_check.check(spec, kind, classes)
    trained = resources.get(connection, version.body.get("trainingPipeline", "")) if metadata else None
    if trained is None and by_pipeline is None and "RETRAIN" in spec.actions:
        raise FailedPrecondition(
            "actions has RETRAIN, but the training pipeline of the deployed model is gone; without it nobody "
            "knows how to train another: give training.pipeline."
        )
    data: dict[str, Any] = dict(private.data) if by_pipeline else {}
    private.pipeline, private.classes = None, list(classes)
    if trained is not None:
        config = trained.body.get("inputDataConfig") or {}
        private.pipeline = {
            "trainingTaskInputs": trained.body["trainingTaskInputs"],
            "inputDataConfig": config,
            "name": trained.name,
        }
        parent = endpoint.name.partition("/endpoints/")[0]
        data = {
            "dataset": f"{parent}/datasets/{config.get('datasetId', '').rpartition('/')[2]}",
            "target": metadata.get("targetColumn", ""),
            "timeColumn": (config.get("timestampSplit") or {}).get("key", ""),
        }
    data |= {key: value for key, value in (body.get("data") or {}).items() if value}
    if by_pipeline is not None and "RETRAIN" in spec.actions:
        _check_pipeline(call, connection, steward, data)
    if data.get("dataset"):
        _check_data(connection, {"target": "", "timeColumn": "", **data})
    private.data = data


def _check_pipeline(call: Call, connection: Connection, steward: Resource, data: dict[str, Any]) -> None:
    """
    Raises:
        PorticoError: the run that retrains could not start; names the field.
    """
    pipeline, field = steward.body["training"]["pipeline"], "training.pipeline"
    for key in ("dataset", "target"):
        if not data.get(key):
            raise InvalidArgument(
                f"data.{key} is missing: a pipeline learns from the first data and the labelled predictions.",
                field=f"data.{key}",
            )
    given = pipeline.get("episodeParameters") or {}
    for name, fact in given.items():
        if fact not in pipeline_runs.EPISODE_FACTS:
            raise InvalidArgument(
                f"{field}.episodeParameters[{name}] is {fact!r}; of an episode there are "
                f"{', '.join(sorted(pipeline_runs.EPISODE_FACTS))}.",
                field=f"{field}.episodeParameters",
            )
    if "trainingData" not in given.values():
        raise InvalidArgument(
            f"{field}.episodeParameters names no parameter that gets trainingData, the gs:// name of the rows to "
            "learn from.",
            field=f"{field}.episodeParameters",
        )
    job = pipeline_runs.job_of(
        pipeline, {name: pipeline_runs.EPISODE_FACTS[fact] for name, fact in given.items()}
    )
    try:
        pipeline_runs.pipelines().ask(call.rooms, connection, steward.parent, job)
    except PorticoError as error:
        raise type(error)(f"{field}: {error.message}", field=field) from None


def classes_of(steward: Resource) -> list[str]:
    """The classes that a steward's models tell apart, where these don't say so themselves."""
    return StewardPrivate.of(steward).classes or steward_spec.spec_of(steward.body).model.classes


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
        if state == ROLLING_BACK:
            raise FailedPrecondition(f"The promotion of {episode.name} is being undone.")
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


@implements("portico", EPISODES.method("rollBack"))
def roll_back(call: Call) -> dict[str, Any]:
    """Undoes a promotion: the champion that was replaced is deployed again, and gets the challenger's traffic once it
    answers; the steward's steps do the rest (`States._rolling_back`)."""
    from portico.store import domain_clock

    with call.rooms.database.write() as connection:
        episode = EPISODES.require(connection, call.name)
        steward = STEWARDS.require(connection, episode.name.partition("/episodes/")[0])
        if episode.body["state"] != "PROMOTED":
            raise FailedPrecondition(
                f"{episode.name} is {episode.body['state']}: only a promotion can be undone; what is under way can be "
                "rejected."
            )
        if open_now := StewardPrivate.of(steward).episode:
            raise FailedPrecondition(f"{open_now} is open; wait for its end, or reject it first.")
        payload = _again(call, connection, steward, episode)
        endpoint, moment = steward.body["endpoint"], domain_clock.now(connection, call.rooms.clock)
        private = EpisodePrivate.of(episode)
        private.job = call.rooms.queue.add(connection, "endpoints.deployModel", endpoint, payload)
        private.since = moment
        StewardPrivate.of(steward).episode = episode.name
        said = {"approved": False, "undid": True, "by": call.caller.email or "anonymous", "time": rfc3339(moment),
                "comment": call.body.get("comment", "")}  # fmt: skip
        words = f"{said['by']} undoes the promotion: the champion is deployed again."
        episode.body["champion"] = {**episode.body["champion"], "deployedModelId": payload["deployed"]["id"]}
        episode.body |= {"state": ROLLING_BACK, "reason": words}
        episode.body.pop("endTime", None)
        episode.body["approvals"] = [*episode.body.get("approvals", []), said]
        entered = {"state": ROLLING_BACK, "time": rfc3339(moment), "reason": words}
        episode.body["transitions"] = [*episode.body["transitions"], entered]
        steward.body["status"] = {**steward.body.get("status", {}), "episode": episode.name, "message": words}
        now = call.rooms.clock.now()
        resources.update(connection, steward, now)
        shown = EPISODES.render(resources.update(connection, episode, now))
    call.rooms.queue.wake()
    return shown


def _again(call: Call, connection: Connection, steward: Resource, episode: Resource) -> dict[str, Any]:
    """What the job is told that deploys an episode's champion in its challenger's place.

    Raises:
        FailedPrecondition: the challenger is not the endpoint's champion any more, or the old version is gone.
    """
    endpoint = resources.get(connection, steward.body["endpoint"])
    current = champion_of(endpoint) if endpoint else None
    challenger, champion = episode.body["challenger"], episode.body["champion"]
    if endpoint is None or current is None or current["id"] != challenger.get("deployedModelId"):
        raise FailedPrecondition(
            f"What {episode.name} promoted does not serve any more, so there is nothing to undo: deploy the version "
            "that shall serve."
        )
    version = f"{champion['model']}@{champion['modelVersionId']}"
    if resources.get(connection, version) is None:
        raise FailedPrecondition(f"The champion {version} was deleted.")
    kept = ("dedicatedResources", "automaticResources", "sharedResources", "displayName", "serviceAccount")
    split = {key: percent for key, percent in (endpoint.body.get("trafficSplit") or {}).items() if percent}
    share = split.pop(current["id"], 0)
    return {
        "deployed": {**{key: current[key] for key in kept if key in current}, "id": call.rooms.ids.number(),
                     "model": version},
        "split": {**split, "0": share}, "version": version, "token": call.rooms.ids.token(),
        "why": {"episode": episode.name},
    }  # fmt: skip


@implements("portico", EPISODES.method("replay"))
def replay(call: Call) -> dict[str, Any]:
    """Makes every decision again from its rule, its facts and its rows; nothing is trained or changed."""
    from portico.services.portico.steward.replay import replayed

    with call.rooms.database.read() as connection:
        episode = EPISODES.require(connection, call.name)
    found = [replayed(call.rooms.home, record) for record in episode.body.get("decisions", [])]
    return {"agrees": all(d["agrees"] for d in found), "decisions": found}
