"""A steward's YAML file: applied twice it changes nothing, and a bad one names line and field."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.portico.conftest import World

import portico
from portico.client import declaration
from portico.errors import InvalidArgument, PorticoError

FILE = """\
kind: Steward
name: keeper
endpoint: {endpoint}
data: {{timeColumn: t}}
training:
  window: sliding
  duration: 7d
acceptable:
  - metric: meanAbsoluteError
    limit: 12.5
    labels: 100
actions: [rescale, retrain]
gates:
  labels: 60
rollout:
  shadowLabels: 20
  canary:
    - percent: 20
      labels: 30
limits: {{coolDown: 12h}}
"""


@pytest.fixture
def world(trained: World) -> Iterator[World]:
    trained.deploy()
    yield trained
    if trained.call("GET", trained.name).status_code == 200:
        trained.api("DELETE", trained.name)


@pytest.fixture
def client(world: World) -> Iterator[Any]:
    made = portico.Client(world.portico.url)
    yield made
    made.close()


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keeper.yaml"
    path.write_text(text)
    return path


def test_apply_diff_get_delete(world: World, tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "portico.cli.main", *words, "--home", str(world.portico.home)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert found.returncode == code, found.stdout + found.stderr
        return found.stdout + found.stderr

    text = FILE.format(endpoint=world.endpoint.resource_name)
    path = file(tmp_path, text)
    assert run("diff", "-f", str(path), code=1) == "+ steward keeper\n"
    assert run("apply", "-f", str(path)) == "steward keeper: created\n"
    assert run("apply", "-f", str(path)) == "steward keeper: unchanged\n"
    assert run("diff", "-f", str(path)) == "no difference\n"
    assert world.steward()["limits"] == {"coolDown": "43200s"} and world.steward()["actions"] == [
        "RESCALE",
        "RETRAIN",
    ]
    path.write_text(text.replace("12.5", "13").replace("limits: {coolDown: 12h}\n", ""))
    said = run("apply", "-f", str(path))
    assert "changed" in said and "acceptable" in said and "- limits" in said
    assert "limits" not in world.steward()
    assert run("apply", "-f", str(path)) == "steward keeper: unchanged\n"
    assert "keeper  ACTIVE" in run("get") and '"endpoint"' in run("get", "keeper", "--json")
    assert run("get", "keeper/episodes") == "none\n"
    assert "deleted" in run("delete", "keeper")
    assert "does not exist" in run("get", "keeper", code=1)


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("limit: 12.5", "limits: 12.5", 10, "acceptable[0].limits"),
        ("metric: meanAbsoluteError", "metric: auRoc", 9, "acceptable[0].metric"),
        ("labels: 60", "labels: 3", 14, "gates.labels"),
        ("percent: 20", "percent: 120", 18, "rollout.canary[0].percent"),
        ("coolDown: 12h", "coolDown: soon", 20, "limits.coolDown"),
        ("actions: [rescale, retrain]", "actions: [alert, retrain]", 12, "actions"),
        ("timeColumn: t", "timeColumn: when", 4, "data.timeColumn"),
        ("window: sliding", "window: rolling", 6, "training.window"),
        ("shadowLabels: 20", "shadowLabels: many", 16, "rollout.shadowLabels"),
        ("labels: 100", "labels: 100\n    labels: 50", 12, "acceptable[0].labels"),
        ("duration: 7d", "window: expanding", 7, "training.window"),
        ("name: keeper", "name: The Keeper", 2, "name"),
        ("kind: Steward", "kind: Butler", 1, "kind"),
        ("kind: Steward", "kind: [", 3, "YAML"),
    ],
)
def test_a_bad_file_names_line_and_field(
    world: World, client: Any, tmp_path: Path, old: str, new: str, line: int, field: str
) -> None:
    path = file(tmp_path, FILE.format(endpoint=world.endpoint.resource_name).replace(old, new))
    with pytest.raises(InvalidArgument) as caught:
        declaration.apply(client, declaration.load(path))
    assert caught.value.message.startswith(f"keeper.yaml:{line}: "), caught.value.message
    assert field in caught.value.message


def test_the_endpoint_by_its_display_name(world: World, client: Any, tmp_path: Path) -> None:
    path = file(tmp_path, FILE.format(endpoint="nobody"))
    with pytest.raises(PorticoError, match=r"keeper.yaml:3: endpoint is 'nobody'.*there is none"):
        declaration.apply(client, declaration.load(path))
    made = world.aiplatform.Endpoint.create(display_name="by name")
    path.write_text(FILE.format(endpoint="by name"))
    with pytest.raises(PorticoError, match="no deployed model"):
        declaration.apply(client, declaration.load(path))
    made.delete()


WHOLE = """\
kind: Steward
name: whole
data:
  source: [{source}]
  target: y
training:
  predictionType: regression
  objective: minimize-mae
  transformations: {{x: numeric, z: numeric}}
  budgetMilliNodeHours: 1
endpoint: whole
acceptable:
  - {{metric: meanAbsoluteError, timesReference: 1.5, labels: 100}}
triggers: {{schedule: 90d}}
"""


def test_one_file_makes_data_model_endpoint_and_steward(world: World, client: Any, tmp_path: Path) -> None:
    path = file(tmp_path, WHOLE.format(source="gs://steward-world/first.csv"))
    declared = declaration.load(path)
    assert declaration.missing(client, declared) == ["dataset whole", "model whole", "endpoint whole"]
    told: list[str] = []
    assert declaration.apply(client, declared, told.append)[0] == "created"
    assert [words.split()[0] for words in told] == ["making", "training", "deploying"]
    assert declaration.missing(client, declared) == []
    assert declaration.apply(client, declared, told.append)[0] == "unchanged" and len(told) == 3
    (endpoint,) = world.aiplatform.Endpoint.list(filter='displayName="whole"')
    assert endpoint.predict([{"x": 0.5, "z": 0.5}]).predictions[0]["value"] > 0
    (model,) = world.aiplatform.Model.list(filter='displayName="whole"')
    assert model.to_dict()["metadata"]["objective"] == "minimize-mae"
    client.delete_steward("whole")


def test_a_training_that_fails_is_told_with_the_line(world: World, client: Any, tmp_path: Path) -> None:
    bad = WHOLE.replace("whole", "broken").replace("target: y", "target: nothing")
    path = file(tmp_path, bad.format(source="gs://steward-world/first.csv"))
    with pytest.raises(PorticoError, match=r"keeper.yaml:\d+: .*nothing"):
        declaration.apply(client, declaration.load(path))
