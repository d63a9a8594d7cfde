"""The steward by its own API, on a model that the official client trained and deployed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.steward.conftest import World, doubled, turned


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
    world.days(3)
    assert world.steward()["status"]["acceptable"][0]["holds"]


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
