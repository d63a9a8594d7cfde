"""A classifier in a steward's care: cheap answers, what errors cost, a share held out of its influence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.services.portico.conftest import World

COST = {
    "errors": [
        {"truth": "yes", "predicted": "no", "cost": 10},
        {"truth": "no", "predicted": "yes", "cost": 1},
    ]
}


def yes(answer: dict[str, Any]) -> float:
    return float(dict(zip(answer["classes"], answer["scores"], strict=True))["yes"])


class Classified(World):
    """Whether y is "yes" depends on x; `shift` moves the log-odds for everyone: the prevalence changes."""

    shift = 0.0

    def row(self) -> tuple[dict[str, Any], Any]:
        instance, _ = super().row()
        chance = 1 / (1 + math.exp(-(5 * (instance["x"] - 0.5) + self.shift)))
        return instance, "yes" if self._random.random() < chance else "no"

    def deploy(self) -> None:
        """The model as it was trained; promotions have made others the default."""
        self.shift, self._labels = 0.0, []
        self.endpoint = self.aiplatform.Model(f"{self.model.resource_name}@1").deploy()

    def train(self) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        client = storage.Client(project="portico", credentials=AnonymousCredentials())
        rows = [self.row() for _ in range(1500)]
        lines = ["n,t,x,z,y", *(",".join(map(str, (*instance.values(), truth))) for instance, truth in rows)]
        client.create_bucket("classified").blob("first.csv").upload_from_string("\n".join(lines), "text/csv")
        dataset = self.aiplatform.TabularDataset.create("first", gcs_source="gs://classified/first.csv")
        job = self.aiplatform.AutoMLTabularTrainingJob(
            display_name="yes-or-no",
            optimization_prediction_type="classification",
            optimization_objective="minimize-log-loss",
            column_transformations=[{"numeric": {"column_name": name}} for name in ("x", "z")],
        )
        self.model = job.run(dataset=dataset, target_column="y", budget_milli_node_hours=2)


@pytest.fixture(scope="module")
def classified(home_of_its_own: Any) -> Any:
    from google.cloud import aiplatform

    aiplatform.initializer.global_config._credentials = None
    aiplatform.init(
        project="portico", location="us-central1", api_endpoint=home_of_its_own.url, api_transport="rest"
    )
    made = Classified(home_of_its_own, aiplatform)
    made.api("POST", "clock:advance", json={"time": "2020-01-01T00:00:00Z"})
    made.train()
    yield made
    aiplatform.initializer.global_config._credentials = None


def test_a_changed_prevalence_is_recalibrated(classified: Classified) -> None:
    world = classified
    world.deploy()
    (before,) = world.endpoint.list_models()
    world.keep(
        acceptable=[{"metric": "logLoss", "limit": 0.62, "labels": 120}],
        actions=["RECALIBRATE"],
        gates={"labels": 80, "baseline": False},
    )
    world.days(4)
    assert not world.episodes(), world.episodes()
    world.shift = -2.5
    episode = world.days_until({"PROMOTED"})
    assert episode["action"] == "RECALIBRATE" and episode["trigger"] == "PERFORMANCE"
    assert episode["transitions"][1]["state"] == "ADJUSTING"
    (after,) = world.endpoint.list_models()
    assert after.id != before.id
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]
    gates = {g["gate"]: g for g in episode["decisions"][1]["numbers"]["gates"]}
    better = gates["better than the champion"]
    assert better["interval"][0] > 0 and better["first"] < 0.85 * better["second"]
    assert gates["acceptable again"]["passed"]
    # It had promised a yes for every second row, where every seventh is one; the labels before the gates' teach a part.
    rows = [world.row() for _ in range(300)]
    answers = world.endpoint.predict([instance for instance, _ in rows]).predictions
    assert np.mean([yes(answer) for answer in answers]) < 0.47


def test_errors_are_money_and_the_threshold_moves(classified: Classified) -> None:
    world = classified
    world.deploy()
    assert "decision" not in world.endpoint.predict([world.row()[0]]).predictions[0]
    world.keep(
        cost=COST,
        acceptable=[{"metric": "cost", "limit": 0.9, "labels": 150}],
        actions=["MOVE_THRESHOLD"],
        gates={"labels": 100, "baseline": False},
    )
    episode = world.days_until({"PROMOTED"})
    opened = episode["decisions"][0]["numbers"]
    assert opened["metric"] == "cost" and opened["value"] > 0.9
    assert opened["total"] == pytest.approx(opened["value"] * opened["rows"])
    assert opened["bestThreshold"] < 0.4 and opened["saving"] > 0
    (deployed,) = world.endpoint.list_models()
    version = world.aiplatform.Model(f"{deployed.model}@{deployed.model_version_id}")
    threshold = version.to_dict()["metadata"]["decisionThreshold"]
    assert threshold < 0.4, "missing a yes costs ten times as much"
    for answer in world.endpoint.predict([world.row()[0] for _ in range(50)]).predictions:
        assert answer["decision"] == answer["classes"][answer["scores"][1] >= threshold]
    assert world.api("POST", f"{episode['name']}:replay", json={})["agrees"]


def test_a_random_share_is_held_out_and_measures_the_influence(classified: Classified) -> None:
    """Whoever is predicted "yes" and acted upon becomes a "no": only the held-out share still shows the truth."""
    world = classified
    world.deploy()
    world.keep(
        acceptable=[{"metric": "logLoss", "limit": 5, "labels": 60}],
        actions=["ALERT"],
        influence={"holdout": 0.4},
    )
    held = asked = 0
    for _ in range(8):
        labels = []
        for _ in range(40):  # 320 in all: fewer than 60 held out would be a chance of one in 10^15
            instance, truth = world.row()
            answer = world.endpoint.predict([instance])
            asked += 1
            out = bool((answer.metadata or {}).get("holdout"))
            held += out
            acted = not out and yes(answer.predictions[0]) > 0.5
            labels.append(
                {"key": {"n": instance["n"]}, "truth": "no" if acted else truth, "influenced": not out}
            )
        world.advance(86400)
        world.api("POST", f"{world.endpoint.resource_name}:addLabels", json={"labels": labels})
    world.advance(86400)
    assert 0.25 < held / asked < 0.55
    found = world.steward()["status"]
    influence = found["influence"]
    assert influence["held"]["rows"] == held and influence["acted"]["rows"] == asked - held
    assert influence["outcomeInterval"][1] < 0, "acting made fewer of them a yes, certainly"
    assert found["acceptable"][0]["rows"] == 60 <= held, "only what was held out judges the model"
