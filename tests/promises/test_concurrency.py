"""Two hundred clients at once on two fronts: every one sees its own writes, and no one sees a lock."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import world
from wire import Answer, Wire

L = "projects/crowd/locations/us-central1"
CLIENTS = 200


@pytest.fixture(scope="module")
def server(new_portico):
    running = new_portico(fronts=2).start()
    yield running
    running.stop()


@dataclass
class Crowd:
    """What the clients share: the world, how many stories each tells, and what they saw."""

    url: str
    bucket: str
    model: str
    endpoint: str
    expected: list[float]
    stories: int
    rounds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Client:
    """One client; each method is a story in which it looks for what it has just written."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.random = random.Random(number)
        self.made = 0
        self._open()

    def _open(self) -> None:
        # Several connections, so that what one wrote is read through another, and likely another front.
        self.wires = [Wire(self.crowd.url, timeout=240) for _ in range(2)]

    def ask(self, *request: object, expect: int = 200) -> Answer:
        answer = self.random.choice(self.wires)(*request)  # type: ignore[arg-type]
        self.crowd.statuses[answer.status] += 1
        assert answer.status == expect, (request[:2], answer.status, answer.body[:500])
        return answer

    def run(self) -> None:
        stories: list[Callable[[], None]] = [
            self.endpoint,
            self.object,
            self.predict,
            self.labels,
            self.listing,
        ]
        if self.number % 20 == 0:
            stories = [self.deploy]
        try:
            for _ in range(1 if self.number % 20 == 0 else self.crowd.stories):
                story = self.random.choice(stories)
                story()
                self.crowd.rounds[story.__name__] += 1
        except Exception as error:
            self.crowd.failures.append(f"client {self.number}: {type(error).__name__}: {error}"[:1500])
        finally:
            for wire in self.wires:
                wire.close()

    def endpoint(self) -> None:
        """create -> get -> patch -> get -> list -> delete -> 404."""
        self.made += 1
        number = f"{self.number}{self.made:05}"
        name = f"{L}/endpoints/{number}"
        labels = {"client": f"c{self.number}"}
        self.ask("POST", f"/v1/{L}/endpoints?endpointId={number}", {"displayName": "a", "labels": labels})
        self.ask("POST", f"/v1/{L}/endpoints?endpointId={number}", {"displayName": "a"}, expect=409)
        etag = self.ask("GET", f"/v1/{name}").json["etag"]
        self.ask("PATCH", f"/v1/{name}?updateMask=displayName", {"displayName": "b", "etag": etag})
        self.ask(
            "PATCH", f"/v1/{name}?updateMask=displayName", {"displayName": "c", "etag": etag}, expect=409
        )
        assert self.ask("GET", f"/v1/{name}").json["displayName"] == "b"
        own = f"/v1/{L}/endpoints?filter=labels.client%3Dc{self.number}"
        assert [e["name"] for e in self.ask("GET", own).json["endpoints"]] == [name]
        self.ask("DELETE", f"/v1/{name}")
        self.ask("GET", f"/v1/{name}", expect=404)
        assert self.ask("GET", own).json == {}

    def object(self) -> None:
        """upload -> download -> list -> overwrite -> download -> delete -> 404."""
        bucket, name = self.crowd.bucket, f"client-{self.number}/own"
        path = f"/storage/v1/b/{bucket}/o/client-{self.number}%2Fown"
        for _ in range(2):
            data = self.random.randbytes(self.random.choice((0, 10, 5_000, 70_000)))
            made = world.upload(self.random.choice(self.wires), bucket, name, data)
            assert self.ask("GET", f"{path}?alt=media").body == data
            listed = self.ask("GET", f"/storage/v1/b/{bucket}/o?prefix=client-{self.number}/").json["items"]
            assert [(o["name"], o["generation"]) for o in listed] == [(name, made["generation"])]
        self.ask("DELETE", path, expect=204)
        self.ask("GET", path, expect=404)

    def labels(self) -> None:
        """A counter of one's own in a shared resource's labels, by etags: no update is lost."""
        model = self.crowd.model
        key = f"c{self.number}"
        for _ in range(20):  # others write too
            shown = self.ask("GET", f"/v1/{model}").json
            before = shown.get("labels", {})
            if len(before) >= 60 and key not in before:
                return
            value = str(int(before.get(key, "0")) + 1)
            body = {"labels": {**before, key: value}, "etag": shown["etag"]}
            answer = self.wires[0]("PATCH", f"/v1/{model}?updateMask=labels", body)
            self.crowd.statuses[answer.status] += 1
            if answer.status == 200:
                assert answer.json["labels"][key] == value
                return
            assert answer.status == 409, answer

    def predict(self) -> None:
        for wire in self.wires:
            answer = world.predict(wire, self.crowd.endpoint)
            self.crowd.statuses[answer.status] += 1
            assert answer.status == 200, answer
            assert answer.json["predictions"] == self.crowd.expected

    def listing(self) -> None:
        self.ask("GET", f"/v1/{L}/models?pageSize=5")
        self.ask("GET", f"/v1/{L}/operations?pageSize=5")
        self.ask("GET", f"/v1/{L}/endpoints?orderBy=displayName&pageSize=3")

    def deploy(self) -> None:
        """create -> deploy -> predict -> undeploy -> refused -> delete -> refused, on either front."""
        wire = self.random.choice(self.wires)
        endpoint = world.make_endpoint(wire, L)
        for each in self.wires:
            assert world.predict(each, endpoint).status in (400, 404)
        deployed = world.deploy(wire, endpoint, self.crowd.model, seconds=240)
        for each in [*self.wires, Wire(self.crowd.url), Wire(self.crowd.url)]:
            answer = world.predict(each, endpoint)
            assert answer.status == 200, answer
            assert (
                answer.json["deployedModelId"] == deployed
                and answer.json["predictions"] == self.crowd.expected
            )
        self.ask("POST", f"/v1/{endpoint}:undeployModel", {"deployedModelId": deployed})
        for each in [*self.wires, Wire(self.crowd.url), Wire(self.crowd.url)]:
            answer = world.predict(each, endpoint)
            assert answer.status in (400, 404), answer
        self.ask("DELETE", f"/v1/{endpoint}")
        for each in [*self.wires, Wire(self.crowd.url), Wire(self.crowd.url)]:
            assert world.predict(each, endpoint).status == 404


@pytest.mark.parametrize("stories", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_two_hundred_clients_see_their_own_writes(server, stories):
    wire = Wire(server.url)
    bucket = world.make_bucket(wire)
    model = world.make_model(wire, L, bucket)
    endpoint = world.make_endpoint(wire, L)
    world.deploy(wire, endpoint, model)
    expected = world.predict(wire, endpoint).json["predictions"]
    crowd = Crowd(server.url, bucket, model, endpoint, expected, stories)
    threads = [threading.Thread(target=Client(crowd, number).run, daemon=True) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=800 + 10 * stories)
    print(crowd.rounds, crowd.statuses)
    assert crowd.failures == []
    assert not any(thread.is_alive() for thread in threads)
    assert {"endpoint", "object", "predict", "labels", "listing", "deploy"} <= set(crowd.rounds)
    assert "locked" not in server.log() and "Traceback" not in server.log()
    assert world.predict(wire, endpoint).json["predictions"] == expected
