"""Portico's components for pipelines (`portico.client.components`): their functions, their compilation, and a pipeline
of all of them that deploys by canary over a model that serves."""

from __future__ import annotations

import hashlib
import os
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform import kfp_compiled, pipelines_run

import portico
from portico.cli.ci import fetched
from portico.cli.ci.declaration import Declaration, Gates
from portico.cli.ci.repository import Repository
from portico.client import portico_alone
from portico.sandbox import environments

COMPONENTS = Path(portico.__file__).parent / "client" / "components"
LEARNING = runpy.run_path(str(COMPONENTS / "image.py"))["LEARNING"]  # the folder itself needs kfp
LOOP = """    with dsl.ParallelFor(candidates) as candidate:
        trial = components.train_model(
            data=train, target="bought", features=features, parameters=candidate, validation_fraction=0.2
        ).set_display_name("trial")
    best = components.best_parameters(parameters=candidates, losses=dsl.Collected(trial.outputs["Output"]))
"""
# To kfp 2.4 the items of any list are texts, which it refuses where a dict is wanted: it has no loop here.
ALONE = (
    LOOP.replace("ParallelFor(candidates) as candidate", "If(project != 'none')")
    .replace("=candidate,", '={"max_iter": 9},')
    .replace('dsl.Collected(trial.outputs["Output"])', "[0.1]")
)
SOURCE = (
    """
from portico.client import components

@dsl.pipeline(name="own-components")
def lived(data: str, project: str, name: str, features: list, candidates: list):
    people = dsl.importer(artifact_uri=data, artifact_class=dsl.Dataset, reimport=False)
    schema = {"rows": {"least": 100}, "columns": {"age": {"type": "number", "least": 0}}}
    valid = components.validate_data(data=people.output, schema=schema)
    parts = components.split_data(data=people.output, order="day").after(valid)
    train, test = parts.outputs["train"], parts.outputs["test"]
"""
    + LOOP
    + """    model = components.train_model(data=train, target="bought", features=features, parameters=best.output)
    measured = components.evaluate_model(
        data=test, model=model.outputs["model"], positive="yes", slices=["town"], least_rows=10
    )
    gate = components.gate_model(evaluation=measured.outputs["evaluation"], least={"auRoc": 0.5})
    with dsl.If(gate.outputs["passed"] == True):
        registered = components.register_model(
            model=model.outputs["model"], project=project, location="us-central1", display_name=name
        )
        deployed = components.deploy_by_canary(
            model_name=registered.output, project=project, location="us-central1", endpoint_display_name=name,
            instances=[[44, "a"], [70, "b"]], probes=20, most_milliseconds=20000.0,
        )
        components.batch_predict(
            data=test, model=model.outputs["model"], model_name=registered.output, project=project,
            location="us-central1",
        ).after(deployed)
"""
)


@pytest.fixture(scope="module")
def path() -> Iterator[str]:
    with portico_alone() as folder:
        yield folder


def test_each_component_does_what_it_says_or_says_why_not(path: str, tmp_path: Path) -> None:
    """The tests of `components_in_kfp.py`, in an environment that has kfp."""
    wanted = [kfp_compiled.KFP, "pytest", *LEARNING]
    python = environments.environment(wanted, "3.11", ENVIRONMENTS)
    file = Path(__file__).with_name("components_in_kfp.py")
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "--rootdir",
        tmp_path,
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*command, "--basetemp", tmp_path / "t", file], env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize("version", [pytest.param("2.4.0", marks=pytest.mark.slow), kfp_compiled.NEWEST])
def test_the_components_compile(version: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    spec = yaml.safe_load(Path(compiled(version)).read_text())
    assert f"kfp-{version}" == spec["sdkVersion"]
    assert (
        len(spec["deploymentSpec"]["executors"]) == 11
    )  # nine components, one of them twice, and an importer


def compiled(version: str = kfp_compiled.NEWEST) -> str:
    files = sorted(COMPONENTS.glob("*.py"))
    # What is compiled is kept by its source: with it goes what it imports.
    sources = [f"# {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files]
    source = SOURCE if version != "2.4.0" else SOURCE.replace(LOOP, ALONE)
    return kfp_compiled.compiled(source + "".join(sources), version)["lived"]


@pytest.mark.slow
def test_a_model_is_deployed_by_canary_over_another_and_rolled_back_where_it_fails(
    aiplatform: Any, bucket: Any, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    draw = np.random.default_rng(0)
    age, town = draw.integers(18, 80, 400), draw.choice(["a", "b"], 400)
    bought = np.where(draw.random(400) < np.where(age > 50, 0.9, 0.1), "yes", "no")
    people = pd.DataFrame({"day": np.arange(400), "age": age, "town": town, "bought": bought})
    bucket.blob("people.csv").upload_from_string(people.to_csv(index=False))
    name, template = f"own-{bucket.name}", compiled()

    def run(iterations: list[int], features: list[str]) -> Any:
        job = aiplatform.PipelineJob(
            display_name="own", template_path=template, pipeline_root=f"gs://{bucket.name}/runs",
            parameter_values={
                "data": f"gs://{bucket.name}/people.csv", "project": "test-project", "name": name, "features": features,
                "candidates": [{"max_iter": one, "max_leaf_nodes": 4} for one in iterations],
            },
        )  # fmt: skip
        job.submit()
        return job

    def served() -> tuple[list[str], dict[str, int]]:
        [endpoint] = aiplatform.Endpoint.list(filter=f'display_name="{name}"')
        models = endpoint.list_models()
        return [one.model_version_id for one in models], {
            one.id: 100 for one in models
        } | endpoint.traffic_split

    job = run([2, 20], ["age", "town"])
    job.wait()
    assert served()[0] == ["1"]
    [batch] = [one for one in job.task_details if one.task_name == "batch-predict"]
    assert dict(batch.outputs["predictions"].artifacts[0].metadata)["rows"] == 80

    run([1, 30], ["age", "town"]).wait()
    versions, split = served()
    [endpoint] = aiplatform.Endpoint.list(filter=f'display_name="{name}"')
    opened = Repository(
        tmp_path, Declaration(pipeline="", evaluation="", gates=Gates(metric="")), tmp_path, ""
    )
    files = fetched.local(endpoint.resource_name, "deployed.model", opened, tmp_path)  # as `portico ci` does
    assert [file.name for file in files.iterdir()] == ["model.joblib"]
    assert versions == ["2"] and list(split.values()) == [100]

    error = pipelines_run.failed(run([20], ["age"]))  # it can't answer what the endpoint is asked
    assert "is rolled back at" in error and "requests failed" in error
    assert served() == (["2"], split)
    [model] = aiplatform.Model.list(filter=f'display_name="{name}"')
    assert len(model.versioning_registry.list_versions()) == 3
