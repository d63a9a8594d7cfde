"""Tasks that wait for an environment which another makes hold no slot meanwhile, and go on when it is there."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform.kfp_compiled import compiled
from tests.waiting import until

from portico.client.api import Client
from portico.sandbox import environments
from portico.services.aiplatform.custom.recognised import recognise
from portico.services.aiplatform.pipelines.components import images

SOURCE = """
@dsl.component(base_image="python:3.11", packages_to_install=["iniconfig==2.0.0"])
def needs(number: int) -> str:
    import iniconfig
    return iniconfig.__name__

@dsl.component(base_image="python:3.11")
def quick() -> str:
    return "done"

@dsl.pipeline
def waiting_ones():
    with dsl.ParallelFor([1, 2, 3]) as number:
        needs(number=number)

@dsl.pipeline
def quick_one():
    quick()
"""
WAITS = "waits for an environment that another makes"


def place(template: str) -> Path:
    spec = next(yaml.safe_load_all(Path(template).read_text()))
    executors = spec["deploymentSpec"]["executors"].values()
    [container] = [one["container"] for one in executors if "iniconfig==" in json.dumps(one)]
    program, image = (
        recognise([*container["command"], *container["args"]]),
        images.base_of(container["image"]),
    )
    assert image.python is not None
    return environments.place(
        [*image.python.common, *program.requirements], environments.find_python(image.python.pythons),
        ENVIRONMENTS, program.apart, program.options,
    )  # fmt: skip


@pytest.mark.slow
def test_waiting_for_an_environment_holds_no_slot(portico: Any, aiplatform: Any, bucket: Any) -> None:
    files = compiled(SOURCE)
    client = Client(portico.url)

    def submit(name: str) -> Any:
        job = aiplatform.PipelineJob(
            display_name=name,
            template_path=files[name],
            pipeline_root=f"gs://{bucket.name}/root",
            enable_caching=False,
        )
        job.submit()
        return job

    def waiting() -> list[dict[str, Any]]:
        return [one for one in client.call("GET", "jobs").get("jobs", []) if one.get("message") == WAITS]

    home = place(files["waiting_ones"])
    shutil.rmtree(home, ignore_errors=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = submit("waiting_ones")
        found = until(lambda: len(some := waiting()) == 3 and some, "three wait", 120)
        assert {one["state"] for one in found} == {"WAITING"}
        submit("quick_one").wait()
        assert len(waiting()) == 3 and not home.exists()
    held.wait()
    assert home.exists() and held.state.name == "PIPELINE_STATE_SUCCEEDED"
