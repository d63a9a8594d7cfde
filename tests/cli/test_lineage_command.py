"""`portico lineage`: a tree in the terminal, and an SVG."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
import requests


def run(portico: Any, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "lineage", *map(str, arguments)]
    return subprocess.run(
        [*command, "--home", str(portico.home)], capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def model(aiplatform: Any) -> Any:
    """Two files -> prepare -> table -> train -> model -> look -> table again (a loop), and a failed run on it."""

    def new(name: str, title: str, **fields: Any) -> Any:
        return aiplatform.Artifact.create(schema_title=title, display_name=name, **fields)

    raw = [
        new(
            f"<raw & {n}>",
            "system.Dataset",
            uri=f"gs://lineage-command/{n}.csv",
            metadata={"generation": f"10{n}"},
        )
        for n in range(2)
    ]
    table, made = new("table", "system.Dataset"), new("the-model", "system.Model")
    for name, taken, given in (
        ("prepare", raw, [table]),
        ("train", [table], [made]),
        ("look", [made], [table]),
    ):
        with aiplatform.start_execution(schema_title="system.Run", display_name=name) as execution:
            execution.assign_input_artifacts(taken)
            execution.assign_output_artifacts(given)
    return made


def test_a_tree(portico, model):
    done = run(portico, model.resource_name)
    assert done.returncode == 0, done.stderr
    said = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", done.stdout)
    assert said.splitlines() == [
        "the-model  system.Model",
        "├─ from",
        "│  └─ [train] complete TIME",
        "│     └─ table  system.Dataset",
        "│        ├─ [prepare] complete TIME",
        "│        │  ├─ <raw & 0>  system.Dataset  gs://lineage-command/0.csv#100",
        "│        │  └─ <raw & 1>  system.Dataset  gs://lineage-command/1.csv#101",
        "│        └─ [look] complete TIME",
        "│           └─ the-model  system.Model (above)",
        "└─ to",
        "   └─ [look] complete TIME",
        "      └─ table  system.Dataset",
        "         └─ [train] complete TIME",
        "            └─ the-model  system.Model (above)",
    ]


def test_from_the_data_and_as_json_and_svg(portico, model, tmp_path):
    at_home = ("--project", "test-project")
    found = json.loads(run(portico, "gs://lineage-command/0.csv#100", *at_home, "--json").stdout)
    names = [node["displayName"] for node in found["nodes"]]
    assert names[0] == "<raw & 0>" and "the-model" in names and "<raw & 1>" not in names
    file = tmp_path / "it.svg"
    assert run(portico, "the-model", *at_home, "--svg", file).returncode == 0
    root = ElementTree.parse(file).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    assert {"the-model", "<raw & 0>", "train", "generation 100"} <= set(texts)
    assert len(list(root.iter(f"{space}path"))) == 7


def test_what_is_not_there_is_said(portico):
    for name in ("gs://nothing/here", "projects/p/locations/l/endpoints/1", 'no "such" name'):
        done = run(portico, name, "--project", "test-project")
        assert (
            done.returncode == 1
            and "Nothing is recorded of" in done.stderr
            and "Traceback" not in done.stderr
        )


def test_what_another_project_has_is_found_where_none_is_named(portico: Any) -> None:
    artifacts = "/v1/projects/lineage-elsewhere/locations/us-central1/metadataStores/default/artifacts"
    body = {"displayName": "elsewhere", "schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}
    assert requests.post(f"{portico.url}{artifacts}", json=body, timeout=240).status_code == 200
    command = [sys.executable, "-m", "portico.cli.main", "lineage", "--home", str(portico.home)]
    env = {name: value for name, value in os.environ.items() if name != "GOOGLE_CLOUD_PROJECT"}

    def told(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], env=env, capture_output=True, text=True, timeout=240)

    assert told("elsewhere").stdout.startswith("elsewhere  system.Dataset")
    assert told("elsewhere", "--project", "portico").returncode == 1
    missing = told("no-such-thing")
    assert missing.returncode == 1 and "in any of" in missing.stderr
