"""From a request's path to a loaded model: an exact dictionary, and a weighted draw."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import orjson

from portico.errors import FailedPrecondition, InvalidArgument, Unavailable
from portico.ids import project_number
from portico.prediction.front.metrics import ModelMetrics, Slots
from portico.prediction.models.predictors import Predictor
from portico.prediction.service_log import Counted
from portico.prediction.spool import names_of
from portico.store.served import ServedEndpoint, ServedModel

if TYPE_CHECKING:
    from portico.prediction.models.native.process import ModelProcess
    from portico.prediction.replicas.client import ReplicaClient

PREDICT: Final = 0
RAW_PREDICT: Final = 1
EXPLAIN: Final = 2
DIRECT_RAW_PREDICT: Final = 3
DIRECT_PREDICT: Final = 4
_METHODS: Final = {
    "predict": (PREDICT, False),
    "rawPredict": (RAW_PREDICT, False),
    "streamRawPredict": (RAW_PREDICT, True),
    "explain": (EXPLAIN, False),
    "directRawPredict": (DIRECT_RAW_PREDICT, False),
    "directPredict": (DIRECT_PREDICT, False),
}


class Deployed:
    """A deployed model that this process can answer for: `remote` asks its replicas, `worker` its own process, and
    `local`, where it is set too, answers here what is known to be short. Where it failed to load `error` says why."""

    __slots__ = (
        "endpoint",
        "error",
        "explain_suffix",
        "local",
        "metrics",
        "names",
        "raw_headers",
        "remote",
        "row_seconds",
        "served",
        "slots",
        "suffix",
        "worker",
    )

    def __init__(
        self,
        served: ServedModel,
        endpoint: str,
        *,
        local: Predictor | None = None,
        remote: ReplicaClient | None = None,
        worker: ModelProcess | None = None,
        row_seconds: float = 1e-4,
        error: str = "",
        metrics: ModelMetrics | None = None,
    ) -> None:
        self.served = served
        self.endpoint = endpoint
        self.names = names_of(endpoint, served.id, served.model, served.model_version_id)
        self.local = local
        self.remote = remote
        self.error = error
        self.worker = worker
        self.row_seconds = row_seconds  # about how long one row takes here
        self.metrics = metrics or ModelMetrics()
        self.slots: Slots | None = None  # its own replicas, or its own process
        if remote is not None or (worker is not None and local is None):
            self.slots = Slots(len(served.replicas))
        # What follows the predictions in an answer never changes.
        tail = {
            "deployedModelId": served.id,
            "model": served.model,
            "modelDisplayName": served.display_name,
            "modelVersionId": served.model_version_id,
        }
        self.suffix = b"," + orjson.dumps(tail)[1:]
        self.explain_suffix = b"," + orjson.dumps({"deployedModelId": served.id})[1:]
        # The names are those that the client's Endpoint.raw_predict reads.
        self.raw_headers = (
            f"x-vertex-ai-deployed-model-id: {served.id}\r\nx-vertex-ai-endpoint-id: {endpoint.rpartition('/')[2]}"
            f"\r\nx-vertex-ai-model: {served.model}\r\nx-vertex-ai-model-version-id: {served.model_version_id}\r\n"
        ).encode("latin-1", "replace")

    def check_loaded(self) -> None:
        """
        Raises:
            Unavailable: it failed to load.
        """
        if self.error:
            raise Unavailable(
                f"The deployed model {self.served.id} can't be served: {self.error}", retry_after=10
            )


class Target:
    """A served endpoint: its deployed models and how traffic is split among them. `metrics` count what failed before
    one of them was chosen."""

    __slots__ = (
        "_choices", "_cumulative", "_only", "deployed", "holdout", "metrics", "name", "sampling_rate", "served",
    )  # fmt: skip

    def __init__(
        self, served: ServedEndpoint, deployed: Iterable[Deployed], metrics: ModelMetrics | None = None
    ) -> None:
        self.served = served
        self.metrics = metrics or ModelMetrics()
        self.name = served.name
        self.sampling_rate = served.sampling_rate
        self.holdout = served.holdout
        self.deployed = {d.served.id: d for d in deployed}
        shares = [
            (self.deployed[i], s) for i, s in served.traffic_split.items() if s > 0 and i in self.deployed
        ]
        self._choices = [d for d, _ in shares]
        self._cumulative = list(accumulate(share for _, share in shares))
        self._only = self._choices[0] if len(shares) == 1 else None

    def pick(self) -> Deployed:
        """A deployed model, drawn by the traffic split.

        Raises:
            FailedPrecondition: nothing is deployed, or nothing gets traffic.
        """
        if self._only is not None:
            return self._only
        if not self._choices:
            raise FailedPrecondition(
                f"Endpoint {self.name} has no deployed model that receives traffic. "
                "Deploy a model to it, or set its traffic split."
            )
        return random.choices(self._choices, cum_weights=self._cumulative)[0]

    def chosen(self, deployed_model_id: str) -> Deployed:
        """The deployed model with this id.

        Raises:
            InvalidArgument: there is none.
        """
        found = self.deployed.get(deployed_model_id)
        if found is None:
            raise InvalidArgument(
                f"Endpoint {self.name} has no deployed model {deployed_model_id!r}.", field="deployedModelId"
            )
        return found


@dataclass(frozen=True, slots=True)
class Route:
    method: int
    target: Target
    stream: bool = False  # the answer leaves in pieces, as the model makes them


class Router:
    """The paths of all targets. Never changed once built: a change of what is served builds a new one."""

    def __init__(self, targets: Iterable[Target] = ()) -> None:
        self.targets = {target.name: target for target in targets}
        self._routes = {
            f"/{version}/{name}:{method}".encode(): Route(number, target, stream)
            for target in self.targets.values()
            for name in (target.name, _numbered(target.name))
            for version in ("v1", "v1beta1")
            for method, (number, stream) in _METHODS.items()
        }
        self.exact: Callable[[bytes], Route | None] = self._routes.get

    def deployed(self) -> Iterator[Deployed]:
        """Every deployed model of every target."""
        for target in self.targets.values():
            yield from target.deployed.values()

    def unloaded(self) -> list[dict[str, str]]:
        """The deployed models that could not be loaded, and why."""
        return [
            {"endpoint": one.endpoint, "deployedModel": one.served.id, "reason": one.error}
            for one in self.deployed()
            if one.error
        ]

    def counted(self) -> Iterator[Counted]:
        """The counters of every target and its deployed models."""
        for target in self.targets.values():
            yield Counted(target.name, "", target.metrics)
            for deployed in target.deployed.values():
                yield Counted(target.name, deployed.served.id, deployed.metrics, deployed.slots)

    def find(self, path: bytes) -> Route | None:
        """The route of a request's path, percent-encoded or not."""
        return self._routes.get(path) or self._routes.get(unquote_to_bytes(path))

    def named(self, path: bytes) -> bytes:
        """A path that names its endpoint's project by number, with its id; else the path itself."""
        route = self.find(path)
        return (
            path
            if route is None or route.target.name == endpoint_name(path)
            else _renamed(path, route.target.name)
        )


def _renamed(path: bytes, name: str) -> bytes:
    return f"/v1/{name}:{unquote_to_bytes(path).decode().rpartition(':')[2]}".encode()


def _numbered(name: str) -> str:
    """An endpoint's name with its project's number in place of its id: callers may say either."""
    projects, project, *rest = name.split("/")
    return "/".join((projects, project_number(project), *rest))


def endpoint_name(path: bytes) -> str:
    """The endpoint that a prediction's path names."""
    return unquote_to_bytes(path).decode("utf-8", "replace").split("/", 2)[2].rpartition(":")[0]
