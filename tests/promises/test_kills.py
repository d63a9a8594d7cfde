"""SIGKILL at random moments to random processes: what was acknowledged is there, and everything ends definitely."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
import world
from tests import processes
from tests.waiting import until
from wire import Answer, Wire

L = "projects/kills/locations/us-central1"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass
class Ledger:
    """What the server has acknowledged. Appended to by many threads."""

    objects: dict[str, bytes] = field(default_factory=dict)
    attempted: dict[str, bytes] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    """By name: the display name that was acknowledged last."""
    deleted: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    deployments: list[tuple[str, str]] = field(default_factory=list)
    """Operation and endpoint."""
    undeployed: set[str] = field(default_factory=set)
    """Endpoints of which an undeployment was asked for, acknowledged or not."""
    uploads: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    trainings: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def acknowledged(self) -> int:
        return sum(count for status, count in list(self.seen.items()) if status < "3")


class Writer(threading.Thread):
    """Writes what it can and notes what was acknowledged; a lost connection or a 503 acknowledges nothing."""

    def __init__(self, url: str, ledger: Ledger, made: dict[str, str], seed: int, stories: list[str]) -> None:
        super().__init__(daemon=True)
        self.wire = Wire(url, timeout=240)
        self.ledger = ledger
        self.made = made
        self.random = random.Random(seed)
        self.seed = seed
        self.stories = stories
        self.stopping = threading.Event()
        self.count = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            self.count += 1
            story: Callable[[], None] = getattr(self, self.random.choice(self.stories))
            try:
                story()
            except OSError:
                self.stopping.wait(0.05)
            except Exception as error:
                if "HTTPException" in [c.__name__ for c in type(error).__mro__]:
                    continue  # cut off in the middle of an answer
                self.ledger.wrong.append(f"{story.__name__}: {type(error).__name__}: {error}"[:1000])

    def ask(self, *request: Any, headers: Any = None) -> Answer | None:
        """The answer, or None for one that acknowledges nothing."""
        answer = self.wire(*request, headers)
        self.ledger.seen[str(answer.status)] += 1
        if answer.status == 503:
            self.stopping.wait(0.05)
            return None
        if answer.status >= 500:
            self.ledger.wrong.append(f"{request[:2]}: {answer}"[:1000])
        return answer if answer.status < 300 else None

    def object(self) -> None:
        name = f"w{self.seed}-{self.count}"
        data = hashlib.shake_128(name.encode()).digest(self.random.choice((1, 1000, 300_000)))
        self.ledger.attempted[name] = data
        target = f"/upload/storage/v1/b/{self.made['bucket']}/o?uploadType=media&name={name}"
        if self.ask("POST", target, data, headers={"content-type": "text/plain"}):
            self.ledger.objects[name] = data

    def endpoint(self) -> None:
        answer = self.ask("POST", f"/v1/{L}/endpoints", {"displayName": "first"})
        if answer is None:
            return
        self.ledger.operations.append(answer.json["name"])
        name = answer.json["response"]["name"]
        self.ledger.endpoints[name] = "first"
        if self.random.random() < 0.5:
            del self.ledger.endpoints[name]  # while it is not known which of the two it is
            if self.ask("PATCH", f"/v1/{name}?updateMask=displayName", {"displayName": "second"}):
                self.ledger.endpoints[name] = "second"
        elif self.random.random() < 0.5:
            del self.ledger.endpoints[name]
            if answer := self.ask("DELETE", f"/v1/{name}"):
                self.ledger.operations.append(answer.json["name"])
                self.ledger.deleted.append(name)

    def upload(self) -> None:
        model = {
            "displayName": "trees",
            "artifactUri": f"gs://{self.made['bucket']}/model",
            "containerSpec": {"imageUri": world.IMAGE},
        }
        if answer := self.ask("POST", f"/v1/{L}/models:upload", {"model": model}):
            self.ledger.operations.append(answer.json["name"])
            self.ledger.uploads.append(answer.json["name"])

    def deploy(self) -> None:
        answer = self.ask("POST", f"/v1/{L}/endpoints", {"displayName": "served"})
        if answer is None:
            return
        endpoint = answer.json["response"]["name"]
        answer = self.ask(
            "POST", f"/v1/{endpoint}:deployModel", {"deployedModel": {"model": self.made["model"]}}
        )
        if answer is None:
            self.ledger.undeployed.add(endpoint)
            return
        self.ledger.operations.append(answer.json["name"])
        self.ledger.deployments.append((answer.json["name"], endpoint))
        if self.random.random() < 0.3:
            with contextlib.suppress(AssertionError):
                deployed = world.wait(self.wire, answer.json, 5)["deployedModel"]["id"]
                self.ledger.undeployed.add(endpoint)
                self.ask("POST", f"/v1/{endpoint}:undeployModel", {"deployedModelId": deployed})

    def dataset(self) -> None:
        body = world.dataset_body(self.made["bucket"])
        if answer := self.ask("POST", f"/v1/{L}/datasets", body):
            self.ledger.operations.append(answer.json["name"])
            self.ledger.datasets.append(answer.json["name"])
        self.stopping.wait(1)

    def batch(self) -> None:
        body = world.batch_body(self.made["bucket"], self.made["model"])
        if answer := self.ask("POST", f"/v1/{L}/batchPredictionJobs", body):
            self.ledger.batches.append(answer.json["name"])
        self.stopping.wait(2)

    def training(self) -> None:
        if answer := self.ask(
            "POST", f"/v1/{L}/trainingPipelines", world.training_body(self.made["dataset"])
        ):
            self.ledger.trainings.append(answer.json["name"])
        self.stopping.wait(4)


def kill_some(server: Any, dice: random.Random, kills: int, ledger: Ledger, killed: Counter[str]) -> None:
    """SIGKILL to single processes below the supervisor, each after some more of the writers' requests."""
    for _ in range(kills):
        wanted = ledger.acknowledged + dice.randrange(1, 100)
        until(lambda wanted=wanted: ledger.acknowledged >= wanted, f"{wanted} requests are acknowledged")
        kinds: dict[str, list[int]] = {}
        for pid in server.pids()[1:]:
            kinds.setdefault(kind_of(pid), []).append(pid)
        if kinds:  # each kind as often as any other, however many of it there are
            kind = dice.choice(sorted(kinds))
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(kinds[kind]), signal.SIGKILL)
                killed[kind] += 1


def kind_of(pid: int) -> str:
    """front, control, scheduler, watcher, warm (and the workers that it forks), replica."""
    try:
        process = psutil.Process(pid)
        command, name = " ".join(process.cmdline()), process.name()
    except psutil.Error:
        return "gone"
    if "worker.py" in command:
        return "replica"
    return "warm" if "portico.jobs.warm" in command else name.removeprefix("portico-").partition("-")[0]


def answers(wire: Wire, endpoint: str, instances: list[Any], seconds: float = 240) -> Any:
    """The predictions of a model in replicas, as soon as one of them is up again."""

    def answer() -> Any:
        answer = wire("POST", f"/v1/{endpoint}:predict", {"instances": instances})
        if answer.status != 503:
            return world.good(answer)["predictions"]
        assert int(answer.headers["retry-after"]) > 0
        return None

    return until(answer, "a replica is up again", seconds)


def crash(server: Any, dice: random.Random, killed: Counter[str]) -> None:
    """Everything at once, or only the supervisor, whose children have to follow it; then a new start."""
    before = processes.found(server.pids())
    if dice.random() < 0.5:
        killed["all"] += 1
        server.kill()
    else:
        killed["supervisor"] += 1
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
    _, alive = psutil.wait_procs(before, timeout=240)
    assert alive == [], "processes outlived their supervisor"
    server.start()


def definite(wire: Wire, name: str, seconds: float) -> Any:
    """The operation, once it is done."""

    def done() -> Any:
        operation = world.good(wire("GET", f"/v1/{name}"))
        return operation if operation.get("done") else None

    operation = until(done, f"{name} is done", seconds)
    assert ("error" in operation) != ("response" in operation)
    return operation


def ended(wire: Wire, name: str, seconds: float) -> Any:
    """The job, once its state is an ended one."""

    def job() -> Any:
        job = world.good(wire("GET", f"/v1/{name}"))
        return job if job["state"].rpartition("_")[2] in ENDED else None

    return until(job, f"{name} has ended", seconds)


def check(server: Any, ledger: Ledger, made: dict[str, str], expected: list[float]) -> Counter[str]:
    """Holds the server to everything that it acknowledged; returns how the work ended."""
    wire = Wire(server.url)
    seconds = 240.0
    found: Counter[str] = Counter()
    assert ledger.wrong == []
    listed = dict(objects(wire, made["bucket"]))
    assert set(ledger.objects) <= set(listed)
    for name, size in listed.items():
        if name in ledger.attempted:
            assert size == len(ledger.attempted[name])
            body = wire("GET", f"/storage/v1/b/{made['bucket']}/o/{name}?alt=media").body
            assert body == ledger.attempted[name]
            found["objects"] += 1
    for name, shown in ledger.endpoints.items():
        assert world.good(wire("GET", f"/v1/{name}"))["displayName"] == shown
    for name in ledger.deleted:
        assert wire("GET", f"/v1/{name}").status == 404
    for name in ledger.operations:
        operation = definite(wire, name, seconds)
        found["operations failed" if "error" in operation else "operations"] += 1
    for name in ledger.uploads:
        operation = definite(wire, name, seconds)
        if "response" in operation:
            model = world.good(wire("GET", f"/v1/{operation['response']['model']}"))
            assert model["versionId"] == "1"
        else:
            assert wire("GET", f"/v1/{name.partition('/operations/')[0]}").status == 404
    for name in ledger.datasets:
        answer = wire("GET", f"/v1/{name.partition('/operations/')[0]}")
        if "response" in definite(wire, name, seconds):
            assert answer.json["metadata"]["statistics"]["rows"] == 400
        else:
            assert answer.status == 404
    for name, endpoint in ledger.deployments:
        operation = definite(wire, name, seconds)
        held = [d["id"] for d in world.good(wire("GET", f"/v1/{endpoint}")).get("deployedModels", [])]
        if "error" in operation:
            assert held == [], operation
            found["not deployed"] += 1
        elif endpoint not in ledger.undeployed:
            assert held == [operation["response"]["deployedModel"]["id"]]
        if held:
            answer = world.predict(wire, endpoint)
            assert answer.status == 200 and answer.json["predictions"] == expected, answer
            found["deployed"] += 1
        else:
            assert world.predict(wire, endpoint).status in (400, 404)
    pointers = world.good(wire("GET", f"/v1/{made['model']}")).get("deployedModels", [])
    for pointer in pointers:
        held = world.good(wire("GET", f"/v1/{pointer['endpoint']}"))["deployedModels"]
        assert pointer["deployedModelId"] in [d["id"] for d in held]
    for name in ledger.batches:
        job = ended(wire, name, seconds)
        found["batch " + job["state"][10:]] += 1
        if job["state"].endswith("SUCCEEDED"):
            prefix = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"gs://{made['bucket']}/")
            lines = 0
            for written, _ in objects(wire, made["bucket"], prefix):
                if "prediction.results" in written:
                    quoted = written.replace("/", "%2F")
                    lines += wire("GET", f"/storage/v1/b/{made['bucket']}/o/{quoted}?alt=media").body.count(
                        b"\n"
                    )
            assert lines == 60, f"{lines} predictions of 60 in {prefix}"
    for name in ledger.trainings:
        job = ended(wire, name, seconds)
        found["training " + job["state"][15:]] += 1
        if job["state"].endswith("SUCCEEDED"):
            model = job["modelToUpload"]["name"]
            assert len(world.good(wire("GET", f"/v1/{model}/evaluations"))["modelEvaluations"]) == 1
    for line in server.log().splitlines():
        assert "database is locked" not in line and "can't be ended" not in line, line
    wire.close()
    return found


def objects(wire: Wire, bucket: str, prefix: str = "") -> Iterator[tuple[str, int]]:
    token = ""
    while True:
        page = world.good(wire("GET", f"/storage/v1/b/{bucket}/o?prefix={prefix}&pageToken={token}"))
        yield from ((o["name"], int(o["size"])) for o in page.get("items", ()))
        token = page.get("nextPageToken", "")
        if not token:
            return


@pytest.mark.parametrize(
    ("store", "rounds", "kills"),
    [
        ("sqlite", 1, 3),
        pytest.param("postgresql", 1, 6, marks=pytest.mark.slow),
        *(
            pytest.param(store, 30, 18, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])
            for store in ("sqlite", "postgresql")
        ),
    ],
)
def test_whatever_is_killed_what_was_acknowledged_holds(new_portico, store, rounds, kills):
    seed = int(os.environ.get("PORTICO_KILL_SEED", "0")) or random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    server = new_portico(fronts=2, store=store).start()
    try:
        wire = Wire(server.url)
        made = {"bucket": world.make_bucket(wire)}
        made["model"] = world.make_model(wire, L, made["bucket"])
        made["dataset"] = world.make_dataset(wire, L, made["bucket"])
        endpoint = world.make_endpoint(wire, L)
        world.deploy(wire, endpoint, made["model"])
        expected = world.predict(wire, endpoint).json["predictions"]
        linear, row = world.make_linear(wire, L, made["bucket"]), [2.0, 3.0]
        replicated = world.make_endpoint(wire, L)
        world.deploy(wire, replicated, linear, seconds=240)
        [of_replica] = answers(wire, replicated, [row])
        ledger, killed = Ledger(), Counter[str]()
        for number in range(rounds):
            stories = [["object"], ["object", "endpoint"], ["endpoint"], ["upload", "deploy"], ["deploy"]]
            stories += [["dataset", "batch"], ["training", "batch"]]
            writers = [
                Writer(server.url, ledger, made, seed * 1000 + number * 10 + n, s)
                for n, s in enumerate(stories)
            ]
            for writer in writers:
                writer.start()
            kill_some(server, dice, kills, ledger, killed)
            crash(server, dice, killed)
            for writer in writers:
                writer.stopping.set()
            for writer in writers:
                writer.join(timeout=300)
                assert not writer.is_alive()
            again = Wire(server.url)
            assert world.predict(again, endpoint).json["predictions"] == expected
            assert answers(again, replicated, [row]) == [of_replica]
        found = check(server, ledger, made, expected)
        print(killed, ledger.seen, found)
        assert found["objects"] and found["operations"]
        assert rounds < 10 or {"front", "control", "scheduler", "watcher", "warm", "replica"} <= set(killed)
    except BaseException:
        print(server.log()[-5000:])
        raise
    finally:
        server.stop()
