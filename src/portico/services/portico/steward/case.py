"""An episode as one step sees it, and the moves it can make; each is one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.errors import FailedPrecondition
from portico.prediction.front.sync import await_fronts
from portico.services.call import Rooms
from portico.services.portico.joining import Outcome
from portico.services.portico.steward import evidence
from portico.services.portico.steward.spec import DAY, spec_of
from portico.services.portico.stewards import EpisodePrivate, StewardPrivate, classes_of, deployed_json
from portico.services.registry import model_store
from portico.services.registry.asking import ASK
from portico.services.registry.deployed import remove_deployed
from portico.services.standard.prices import Prices
from portico.services.standard.serving import publish
from portico.store import jobs, resources
from portico.store.jobs import Job
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.services.portico.steward.watched import Watched

Moved = Literal["moved", "waits", "busy"]
"""What a step did: moved the episode, found nothing to do until something happens, or waits for work of our own."""
Also = Callable[[Connection, Resource, Resource], None]
"""What else a move does in its transaction, to the steward and the episode as they are there."""

RETRAINING = (1.0, 0.25)  # cores and GiB that a retraining asks for
_SLACK = 60.0  # seconds by which a wall clock may go back unnoticed
_FRONTS = 30.0  # seconds that fronts may take to serve what was published
_SPLIT = "trafficSplit"
_LAST = 253402300799.0  # a Timestamp ends with the year 9999


def expected(prices: Prices, used: list[tuple[float, dict[str, float]]], since: float, hours: float) -> float:
    """What the trainings from `since` on have cost, and another one: as much as the dearest of all, or for the first
    so many node hours of what a training asks for. `used` as `StewardPrivate` has it."""
    costs = [(at, sum(prices.cost(sku, amount) for sku, amount in one.items())) for at, one in used]
    cores, memory = RETRAINING
    another = max((cost for _, cost in costs), default=hours * prices.node_hour(cores, memory))
    return another + sum(cost for at, cost in costs if at > since)


class Case:
    """`champion` and `deployed` are the endpoint's deployed models of this episode, None where they are not there.
    `parent` is the job whose turn it is: it waits for the jobs that are started."""

    def __init__(
        self, rooms: Rooms, watched: Watched, steward: Resource, episode: Resource, endpoint: Resource | None,
        now: float, job: str = "",
    ) -> None:  # fmt: skip
        self.rooms, self.watched = rooms, watched
        self.steward, self.episode, self.endpoint = steward, episode, endpoint
        self.now = now
        self.parent = job or None
        self.spec = spec_of(steward.body)
        self.private = EpisodePrivate.of(episode)
        self.state: str = episode.body["state"]
        held = (endpoint.body.get("deployedModels") or []) if endpoint else []
        by_id: dict[str, dict[str, Any]] = {deployed["id"]: deployed for deployed in held}
        self.champion: dict[str, Any] = by_id.get(episode.body["champion"]["deployedModelId"], {})
        if self.champion:
            self.champion = {**self.champion, "classes": classes_of(steward)}
        self.deployed: dict[str, Any] = by_id.get(
            (episode.body.get("challenger") or {}).get("deployedModelId", ""), {}
        )

    @property
    def champion_version(self) -> str:
        return _version(self.episode.body["champion"])

    @property
    def challenger_version(self) -> str:
        return _version(self.episode.body["challenger"])

    def job(self, job_id: str = "") -> Job | None:
        """What makes or deploys the challenger; or another of its jobs."""
        job_id = job_id or self.private.job
        with self.rooms.database.read() as connection:
            return jobs.get(connection, job_id) if job_id else None

    def changed(self) -> str:
        """How the endpoint is not as this episode left it; empty where it is."""
        if not self.deployed:
            return "The challenger was undeployed by someone else."
        assert self.endpoint is not None
        if _traffic(self.endpoint.body.get(_SPLIT)) != _traffic(self.private.split):
            return "The traffic was split otherwise by someone else; it stays as it is."
        return ""

    def stages(self) -> list[tuple[str, dict[str, Any]]]:
        """The decisions on this challenger, from its gates on, each with the name of its stage."""
        decisions = self.episode.body["decisions"]
        gates = max((n for n, one in enumerate(decisions) if one["question"] == "gates"), default=0)
        found: list[tuple[str, dict[str, Any]]] = []
        step = 0
        for one in decisions[gates:]:
            found.append((self.stage_of(one["question"], step), one))
            step += one["question"] == "canary"
        return found

    def stage_of(self, question: str, step: int | None = None) -> str:
        """As people call it: "gates", "shadow", "canary 25%"; `step` of the canary is the present one if None."""
        if question != "canary":
            return question
        number = int(self.episode.body["canaryStep"]) if step is None else step
        steps = self.spec.rollout.canary
        return f"canary {steps[number].percent}%" if number < len(steps) else f"canary {number + 1}"

    def over_limit(self) -> str:
        """Why no training may begin now; empty where one may."""
        limits = self.spec.limits
        made = StewardPrivate.of(self.steward).retrainings
        week = [cost for at, cost in made if at > self.now - 7 * DAY]
        if limits.retrainings_per_week and len(week) >= limits.retrainings_per_week:
            return f"{len(week)} retrainings in a week are the most that is allowed."
        month = sum(cost for at, cost in made if at > self.now - 30 * DAY)
        most = limits.milli_node_hours_per_month
        if most and month + self.spec.training.budget_milli_node_hours > most:
            return f"{month} of {most} milli node hours of 30 days are used up."
        return self._too_dear(month) if limits.cost_per_month else ""

    def _too_dear(self, month: float) -> str:
        """Why another training would cost too much in 30 days, of which those before took `month` milli node hours: at
        the steward's own price, or by what was metered and the prices that `portico cost` has."""
        limits, hours = self.spec.limits, self.spec.training.budget_milli_node_hours / 1000
        if limits.node_hour_price:
            money, currency = (month / 1000 + hours) * limits.node_hour_price, ""
        else:
            try:
                prices = Prices.of(self.rooms.home)
            except FailedPrecondition as error:
                return error.message
            used, currency = StewardPrivate.of(self.steward).used, f" {prices.currency}"
            money = expected(prices, used, self.now - 30 * DAY, hours)
        if money <= limits.cost_per_month:
            return ""
        return f"With another training 30 days would cost {money:.2f}{currency}, more than {limits.cost_per_month:.2f}."

    # --- moves ---

    def wait(self, words: str) -> Moved:
        """Nothing to do until something happens; for longer than the rollout's patience the episode is given up."""
        patience = duration_seconds(self.spec.rollout.patience)
        if self.private.since > self.now + _SLACK:  # it began while the wall clock was ahead

            def begin_again(
                connection: Connection, steward: Resource, episode: Resource, endpoint: Resource
            ) -> None:
                EpisodePrivate.of(episode).since = self.now

            return self._commit(begin_again)
        if self.now - self.private.since > patience:
            return self.end("ABANDONED", f"Nothing came for {patience / DAY:g} days. {words}")
        if self.episode.body.get("waitsFor") == words:
            return "waits"

        def say(connection: Connection, steward: Resource, episode: Resource, endpoint: Resource) -> None:
            episode.body["waitsFor"] = words

        return self._commit(say)

    def move(
        self, state: str, reason: str, also: Also | None = None, record: dict[str, Any] | None = None
    ) -> Moved:
        def change(connection: Connection, steward: Resource, episode: Resource, endpoint: Resource) -> None:
            _enter(episode, state, reason, self.now, *([record] if record else []))
            if also is not None:
                also(connection, steward, episode)

        return self._commit(change)

    def skip(self, action: str, reason: str) -> Moved:
        """An action that can't be taken."""

        def tried(connection: Connection, steward: Resource, episode: Resource) -> None:
            EpisodePrivate.of(episode).tried = [*self.private.tried, action]

        return self.move("BREACHED", reason, tried)

    def start(
        self, action: str, kind: str, state: str, payload: dict[str, Any], gate: list[Outcome], reason: str
    ) -> Moved:
        """Lets a job make the challenger; the rows `gate` are kept from it."""

        def change(connection: Connection, steward: Resource, episode: Resource) -> None:
            job = self.rooms.queue.add(connection, kind, episode.name, payload, parent=self.parent)
            episode.body.pop("challenger", None)
            episode.body["action"] = action
            private = EpisodePrivate.of(episode)
            private.tried = [*self.private.tried, action]
            private.job = job
            private.cutoff = gate[0].time
            private.withheld = sorted({row.label.name for row in gate if row.label})
            private.change = self.watched.change

        moved = self.move(state, reason, change)
        self.rooms.queue.wake()
        return moved

    def ask(self, version: str, texts: list[str], *, probe: bool) -> Moved:
        """Lets a job ask a version of a model for the instances `texts`, JSON each."""
        file = evidence.write_lines(self.rooms.home, self.rooms.ids, texts)
        payload = {
            "version": version, "file": str(evidence.folder(self.rooms.home) / file), "probe": probe,
            "endpoint": self.steward.body["endpoint"],
        }  # fmt: skip

        def change(connection: Connection, steward: Resource, episode: Resource, endpoint: Resource) -> None:
            job = self.rooms.queue.add(connection, ASK, episode.name, payload, parent=self.parent)
            EpisodePrivate.of(episode).asked = {"version": version, "job": job, "file": file}

        moved = self._commit(change)
        self.rooms.queue.wake()
        return moved

    def deploy(
        self,
        reason: str,
        record: dict[str, Any] | None = None,
        also: Callable[[Connection], None] | None = None,
    ) -> Moved:
        """Deploys the challenger without traffic: the shadow."""
        assert self.endpoint is not None
        deployed_id = self.rooms.ids.number()
        model = self.episode.body["challenger"]
        kept = {
            key: self.champion[key]
            for key in (
                "dedicatedResources",
                "automaticResources",
                "sharedResources",
                "displayName",
                "serviceAccount",
            )
            if key in self.champion
        }
        # Every share is named, so that it fails where the champion goes meanwhile.
        split = {key: percent for key, percent in (self.endpoint.body.get(_SPLIT) or {}).items() if percent}
        payload: dict[str, Any] = {
            "deployed": {**kept, "id": deployed_id, "model": f"{model['model']}@{model['modelVersionId']}"},
            "split": split, "version": self.challenger_version, "token": self.rooms.ids.token(),
            "why": {"episode": self.episode.name, "approvals": self.episode.body.get("approvals", [])},
        }  # fmt: skip

        def change(connection: Connection, steward: Resource, episode: Resource) -> None:
            job = self.rooms.queue.add(
                connection, "endpoints.deployModel", steward.body["endpoint"], payload, parent=self.parent
            )
            episode.body["challenger"] = {**model, "deployedModelId": deployed_id}
            private = EpisodePrivate.of(episode)
            private.job, private.split = job, split
            if also is not None:
                also(connection)

        moved = self.move("SHADOW", reason, change, record)
        self.rooms.queue.wake()
        return moved

    def canary(self, step: int, reason: str, record: dict[str, Any]) -> Moved:
        """Gives the challenger its share of the champion's traffic for step number `step`."""
        percent = self.spec.rollout.canary[step].percent

        def change(connection: Connection, steward: Resource, episode: Resource, endpoint: Resource) -> int:
            _enter(episode, "CANARY", f"{reason} {percent}% of the traffic.", self.now, record)
            split = self._shared(percent)
            endpoint.body[_SPLIT] = split
            episode.body["canaryStep"] = step
            EpisodePrivate.of(episode).split = split
            resources.update(connection, endpoint, self.rooms.clock.now())
            return publish(connection, endpoint)

        return self._commit(change)

    def _shared(self, percent: int) -> dict[str, int]:
        """The traffic with `percent` of champion's and challenger's share at the challenger."""
        split = dict(self.private.split)
        both = split.get(self.champion["id"], 0) + split.get(self.deployed["id"], 0)
        share = round(both * percent / 100)
        return {**split, self.champion["id"]: both - share, self.deployed["id"]: share}

    def promote(self, reason: str, *records: dict[str, Any]) -> Moved:
        """The challenger takes the champion's traffic; the champion is undeployed, its version stays."""

        def change(connection: Connection, steward: Resource, episode: Resource, endpoint: Resource) -> int:
            split = self._shared(100)
            split.pop(self.champion["id"])
            endpoint.body[_SPLIT] = split
            number = remove_deployed(connection, endpoint, self.champion["id"], self.rooms.clock.now())
            version = resources.get(connection, self.challenger_version)
            if version is not None:
                model_store.make_default(connection, version, self.rooms.clock.now())
            self._finish(steward, episode, "PROMOTED", reason, *records)
            steward.body["status"]["champion"] = deployed_json(self.deployed)
            return number

        return self._commit(change)

    def undone(self) -> Moved:
        """The champion is there again and has its traffic; the challenger is undeployed, its version stays."""
        last = self.episode.body["approvals"][-1]
        words = f"{last['by']} undid the promotion" + (f": {last['comment']}" if last["comment"] else ".")

        def change(connection: Connection, steward: Resource, episode: Resource, endpoint: Resource) -> int:
            now = self.rooms.clock.now()
            number = remove_deployed(
                connection, endpoint, self.episode.body["challenger"]["deployedModelId"], now
            )
            version = resources.get(connection, self.champion_version)
            if version is not None:
                model_store.make_default(connection, version, now)
            self._finish(steward, episode, "ROLLED_BACK", words)
            steward.body["status"]["champion"] = dict(episode.body["champion"])
            return number

        return self._commit(change)

    def end(self, state: str, reason: str, *records: dict[str, Any], leave: bool = False) -> Moved:
        """Ends the episode without a promotion; `leave` leaves the endpoint as someone else made it."""

        def change(
            connection: Connection, steward: Resource, episode: Resource, endpoint: Resource
        ) -> int | None:
            self._finish(steward, episode, state, reason, *records)
            for job_id in filter(None, (self.private.job, self.private.asked.get("job"))):
                job = jobs.get(connection, job_id)
                if job is not None and job.state not in jobs.ENDED:
                    self.rooms.queue.cancel(connection, job.id)
            if leave or not self.deployed or not self.champion:
                return None
            if _traffic(endpoint.body.get(_SPLIT)) == _traffic(self.private.split):
                endpoint.body[_SPLIT] = self._shared(0)
            elif (endpoint.body.get(_SPLIT) or {}).get(self.deployed["id"]):
                return None  # someone else gave it traffic
            return remove_deployed(connection, endpoint, self.deployed["id"], self.rooms.clock.now())

        return self._commit(change)

    def _finish(
        self, steward: Resource, episode: Resource, state: str, reason: str, *records: dict[str, Any]
    ) -> None:
        _enter(episode, state, reason, self.now, *records)
        episode.body["endTime"] = rfc3339(self.now)
        cool = min(self.now + duration_seconds(self.spec.limits.cool_down), _LAST)
        private = StewardPrivate.of(steward)
        private.episode, private.cool_down = None, cool
        status = {key: value for key, value in steward.body.get("status", {}).items() if key != "episode"}
        steward.body["status"] = {**status, "coolDownUntil": rfc3339(cool), "message": f"{state}: {reason}"}

    def _commit(self, change: Callable[[Connection, Resource, Resource, Resource], int | None]) -> Moved:
        """Makes the change on what is stored, unless that was changed since it was read: then the step is repeated."""
        with self.rooms.database.write() as connection:
            read = [self.steward, self.episode, self.endpoint]
            current = [resources.get(connection, r.name) if r else None for r in read]
            for old, new in zip(read, current, strict=True):
                if (old is None) != (new is None) or (old and new and old.revision != new.revision):
                    return "moved"
            steward, episode, endpoint = current
            assert steward is not None and episode is not None
            now = self.rooms.clock.now()
            version = change(connection, steward, episode, endpoint)  # type: ignore[arg-type]
            resources.update(connection, episode, now)
            resources.update(connection, steward, now)
        if version is not None:
            await_fronts(self.rooms.home, version, _FRONTS, steward.body["endpoint"])
        return "moved"


def _enter(episode: Resource, state: str, reason: str, now: float, *records: dict[str, Any]) -> None:
    body = episode.body
    body |= {"state": state, "reason": reason}
    body["transitions"] = [*body["transitions"], {"state": state, "time": rfc3339(now), "reason": reason}]
    EpisodePrivate.of(episode).since = now
    body.pop("waitsFor", None)
    if records:
        body["decisions"] = [*body["decisions"], *records]


def _version(deployed: dict[str, Any]) -> str:
    return f"{deployed['model']}@{deployed['modelVersionId']}"


def _traffic(split: dict[str, Any] | None) -> dict[str, int]:
    return {key: int(percent) for key, percent in (split or {}).items() if percent}
