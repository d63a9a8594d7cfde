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
