"""The steward by its own API, on a model that the official client trained and deployed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from tests.services.portico.conftest import World, doubled, turned
from tests.waiting import until

from portico.store import labels
from portico.store.database import Database


@pytest.fixture
def world(trained: World) -> Iterator[World]:
    trained.deploy()
    yield trained


def states(episode: dict[str, Any]) -> list[str]:
    return [t["state"] for t in episode["transitions"]]


def test_nothing_is_done_while_all_is_well(world: World) -> None:
    world.keep()
    world.days(6)
    steward = world.steward()
    (shown,) = steward["status"]["acceptable"]
    assert shown["holds"] and shown["value"] < 12 and "within the acceptable" in steward["status"]["message"]
    assert world.episodes() == []


def test_a_changed_world_is_learned_and_the_challenger_promoted(world: World) -> None:
    world.keep()
    world.days(4)
    before = world.endpoint.list_models()[0]
    world.truth = turned
    episode = world.days_until({"PROMOTED"})
    assert states(episode) == ["BREACHED", "RETRAINING", "GATING", "SHADOW", "CANARY", "PROMOTED"]
    assert "beyond the acceptable" in episode["transitions"][0]["reason"]
    (after,) = world.endpoint.list_models()
    assert after.model == before.model and after.model_version_id != before.model_version_id
    assert episode["challenger"]["deployedModelId"] == after.id
    gates = next(d for d in episode["decisions"] if d["question"] == "gates")["numbers"]["gates"]
    unseen = next(g for g in gates if g["gate"] == "unseen rows")
    assert unseen["passed"] and unseen["trainedUntil"] < unseen["measuredFrom"]
    answer = world.api("POST", f"{episode['name']}:replay", json={})
    assert answer["agrees"] and len(answer["decisions"]) == len(episode["decisions"]) >= 4
    for decision in episode["decisions"]:
        assert decision["labels"] == decision["instances"] == decision["rows"] >= 20
    assert [d["question"] for d in episode["decisions"]] == [
        "breach",
        "gates",
        "shadow",
        "canary",
        "promotion",
    ]
    assert "gates 60" in episode["reason"] and "shadow" in episode["reason"], "all the evidence, in words"
    damaged_evidence_is_named(world, episode)
    its_lineage_is_recorded(world, episode)
    world.days(3)
    assert world.steward()["status"]["acceptable"][0]["holds"]
    a_promotion_is_undone(world, episode, before.model_version_id)


def a_promotion_is_undone(world: World, episode: dict[str, Any], version: str) -> None:
    """By a person: the champion serves again, alone; who did it stands in the episode and in the audit log."""
    asked = world.api("POST", f"{episode['name']}:rollBack", json={"comment": "people complain"})
    assert asked["state"] == "ROLLING_BACK" and asked["approvals"][-1]["undid"]
    until(lambda: world.api("GET", episode["name"])["state"] != "ROLLING_BACK", "the champion is back")
    ended = world.api("GET", episode["name"])
    assert ended["state"] == "ROLLED_BACK" and "undid the promotion: people complain" in ended["reason"]
    [serves] = world.endpoint.list_models()
    assert serves.model_version_id == version and serves.id == ended["champion"]["deployedModelId"]
    assert world.endpoint.traffic_split == {serves.id: 100}
    assert world.steward()["status"]["champion"]["deployedModelId"] == serves.id
    world.endpoint.predict([world.row()[0]])
    again = world.call("POST", f"{episode['name']}:rollBack", json={})
    assert again.status_code == 400 and "only a promotion can be undone" in again.text
    body = {"resourceNames": ["projects/portico"], "filter": f'protoPayload.resourceName="{episode["name"]}"'}
    told = requests.post(f"{world.portico.url}/apis/logging/v2/entries:list", json=body, timeout=240).json()
    assert any(one["protoPayload"]["methodName"].endswith("episodes.rollBack") for one in told["entries"])


def its_lineage_is_recorded(world: World, episode: dict[str, Any]) -> None:
    """The retraining's inputs, down to the generation of the first data, and the challenger that came out."""
    made = episode["challenger"]
    told = world.aiplatform.Execution.list(filter=f'metadata.episode.string_value="{episode["name"]}"')
    [run] = [one for one in told if "facts" in one.metadata]  # the others deployed what it made
    assert run.metadata["facts"]["rows"] > 0 and run.state.name == "COMPLETE"
    taken = {a.schema_title: a for a in run.get_input_artifacts()}
    assert set(taken) == {"google.VertexModel", "google.VertexDataset", "system.Dataset"}
    assert taken["system.Dataset"].metadata["generation"].isdigit()
    given = [a.metadata["resourceName"] for a in run.get_output_artifacts()]
    assert given == [f"{made['model']}@{made['modelVersionId']}"]


def damaged_evidence_is_named(world: World, episode: dict[str, Any]) -> None:
    """A breach whose times were shifted by a year, a file that is none, and one that is gone."""

    def replayed() -> dict[str, Any]:
        answer = world.api("POST", f"{episode['name']}:replay", json={})
        assert [d["agrees"] for d in answer["decisions"][1:]] == [True] * (len(answer["decisions"]) - 1)
        breach: dict[str, Any] = answer["decisions"][0]
        assert answer["agrees"] is breach["agrees"]
        return breach

    name = episode["decisions"][0]["evidence"]
    path = world.portico.home / "warehouse" / "evidence" / name
    whole = path.read_bytes()
    table = pq.read_table(path)
    shifted = pa.array(table["time"].to_numpy() + 365 * 86400)
    pq.write_table(table.set_column(table.column_names.index("time"), "time", shifted), path)
    assert not replayed()["agrees"] and name in replayed()["damaged"][0] and "digest" in replayed()["reason"]
    path.write_bytes(whole[: len(whole) // 2])
    assert not replayed()["agrees"] and name in replayed()["damaged"][0]
    path.unlink()
    assert "is gone" in replayed()["damaged"][0]
    path.write_bytes(whole)
    assert replayed()["agrees"] and "damaged" not in replayed()


def test_a_health_probe_is_one_label(world: World) -> None:
    """It asks one instance all day, and one wrong label comes for it by key."""
    world.keep()
    probe, _ = world.row()
    for _ in range(5):
        for _ in range(4):
            world.endpoint.predict([probe] * 50)
        world.api("POST", f"{world.endpoint.resource_name}:addLabels", json={
            "labels": [{"key": {"n": probe["n"]}, "truth": 500.0}]})  # fmt: skip
        world.days(1)
    assert world.episodes() == []
    (shown,) = world.steward()["status"]["acceptable"]
    assert shown["labels"] == 80 and shown["instances"] == 80
    world.days(2)
    assert world.steward()["status"]["acceptable"][0]["holds"]


def test_labels_that_cannot_be_read_are_refused(world: World) -> None:
    name = world.endpoint.resource_name
    good, bad = {"requestId": "1", "truth": "150"}, {"requestId": "2", "truth": "150.00 EUR"}
    answer = world.call("POST", f"{name}:addLabels", json={"labels": [good, bad]})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["status"] == "INVALID_ARGUMENT"
    assert "labels[1].truth is '150.00 EUR'" in error["message"] and "without a unit" in error["message"]
    assert world.api("GET", f"{name}:labelStats").get("labels", 0) == 0, "nothing of a refused request"
    world.api("POST", f"{name}:addLabels", json={"labels": [good]})
    client = storage.Client(project="portico", credentials=AnonymousCredentials())
    client.bucket("steward-world").blob("truth.csv").upload_from_string('id,truth\n3,12.5\n4,"150.00 EUR"\n')
    operation = world.api("POST", f"{name}:importLabels", json={
        "gcsSource": {"uris": ["gs://steward-world/truth.csv"]}, "requestIdColumn": "id"})  # fmt: skip
    while not operation.get("done"):
        operation = world.api("GET", operation["name"])
    assert operation["response"]["new"] == 1 and operation["response"]["badRows"] == 1
    assert (
        "row 2" in operation["response"]["errors"][0] and "150.00 EUR" in operation["response"]["errors"][0]
    )


def test_a_truth_observed_in_the_future_can_be_corrected(world: World) -> None:
    name = world.endpoint.resource_name
    first = {"requestId": "1", "truth": 5, "observedTime": "2999-01-01T00:00:00Z"}
    world.api("POST", f"{name}:addLabels", json={"labels": [first]})
    answer = world.api("POST", f"{name}:addLabels", json={"labels": [{"requestId": "1", "truth": 7}]})
    assert answer["contradicted"] == 1
    with Database(world.portico.home).read() as connection:
        ((label,), _) = labels.since(connection, name, -1)
    assert label.truth == 7


def test_the_cheap_answer_comes_first(world: World) -> None:
    world.keep(actions=["RESCALE", "RETRAIN"])
    world.days(4)
    world.truth = doubled
    episode = world.days_until({"PROMOTED"})
    assert "ADJUSTING" in states(episode)


def test_drift_that_does_no_harm_is_noted_and_let_be(world: World) -> None:
    world.keep(drift={"rows": 100})
    world.days(6)
    assert "observations" not in world.steward()["status"]
    world.least = 0.6
    world.days(6)
    status = world.steward()["status"]
    (noted,) = status["observations"]
    assert noted["features"] == ["x"] and "endTime" not in noted and not noted.get("harm")
    assert "let be" in noted["message"] and status["drift"]["since"] == noted["startTime"]
    assert status["acceptable"][0]["holds"] and world.episodes() == []
    world.least = 0.0
    world.days(6)
    (noted,) = world.steward()["status"]["observations"]
    assert noted["endTime"] > noted["startTime"]


def test_where_the_file_says_so_drift_or_a_schedule_retrains(world: World) -> None:
    world.keep(drift={"rows": 100}, triggers={"drift": True}, gates={"labels": 60, "certain": False})
    world.days(5)
    assert world.episodes() == []
    world.least = 0.6
    episode = world.days_until({"PROMOTED", "REJECTED", "ROLLED_BACK"})
    assert episode["trigger"] == "DRIFT" and episode["decisions"][0]["question"] == "drift"
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]
    world.least = 0.0
    world.keep(triggers={"schedule": "432000s"}, gates={"labels": 60}, limits={"coolDown": "864000s"})
    world.days(3)
    assert world.episodes() == []
    episode = world.days_until({"PROMOTED", "REJECTED", "ROLLED_BACK"})
    assert episode["trigger"] == "SCHEDULE" and "RETRAINING" in states(episode)
    assert "every 5 days" in episode["transitions"][0]["reason"]
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]
