"""Google's own pipeline components (`google_cloud_pipeline_components`): the Python that their image stands for, and
what the jobs that they start say.

A component starts a job, an operation or a query here, and waits for it; which one it is it writes, before it waits,
into its output parameter `gcp_resources` (components/google-cloud/google_cloud_pipeline_components/proto/README.md of
https://github.com/kubeflow/pipelines).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import PorticoError, Unimplemented
from portico.services.aiplatform.custom.recognised import GOOGLES, Recognised
from portico.services.aiplatform.custom.training_images import TAG, TrainingImage, tag_of
from portico.services.aiplatform.pipelines.components import outputs
from portico.store import resources
from portico.store.gcs import Gcs

# Imported once, by the process that components are forked from: what all of them stand on.
MODULES = ",".join(
    f"{GOOGLES}.container.v1.{name}"
    for name in ("aiplatform.remote_runner", "gcp_launcher.job_remote_runner", "bigquery.utils.bigquery_util")
)
_NAME = "google-cloud-pipeline-components"
IMAGE = f"gcr.io/ml-pipeline/{_NAME}:2.22.0"  # where nothing names another
_IMAGE = re.compile(
    rf"(?:(?:(?:us|eu|asia)\.)?gcr\.io/ml-pipeline|[a-z0-9-]+-docker\.pkg\.dev/(?:ml-pipeline|vertex-ai)(?:/[\w.-]+)*)"
    rf"/{_NAME}{TAG}"
)
_VERSION = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?")
_PYTHONS = ("3.11", "3.10", "3.12", "3.9", "3.13")
# distutils, which is no more in Python 3.12, comes with setuptools.
_BESIDE = ("google-cloud-aiplatform<2", "google-api-python-client", "setuptools<81")
_DATAFLOW = re.compile(rf"{GOOGLES}\.container\.\w+\.dataflow\..*")
_CUSTOM_JOB = re.compile(rf"{GOOGLES}\.container\.v1\.custom_job\.launcher")
_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_VERTEX = re.compile(r"https://[a-z0-9-]+-aiplatform\.googleapis\.com/v1(?:beta1)?/(?P<name>projects/.+)")


def python_of(uri: str, field: str) -> TrainingImage | None:
    """What the image `uri` is, if it is that of Google's components.

    Raises:
        InvalidArgument: its tag is no version.
    """
    tag = tag_of(uri, _IMAGE, _VERSION, _NAME, field)
    if tag is None:
        return None
    wanted = _NAME if tag == "latest" else f"{_NAME}=={tag}"
    return TrainingImage(f"{_NAME}:{tag}", "", "", _PYTHONS, (wanted, *_BESIDE), False)


def waits(container: Mapping[str, Any]) -> bool:
    """Whether the component of a PipelineContainerSpec does nothing itself, but waits for what it has started."""
    return _IMAGE.fullmatch(str(container.get("image") or "")) is not None


def require_built(module: str) -> None:
    """
    Raises:
        Unimplemented: what the component's `module` starts is not there.
    """
    if _DATAFLOW.fullmatch(module):
        raise Unimplemented(
            f"Dataflow is not built in Portico, so there is no job that {module} could start: run the Beam pipeline in "
            "a component of your own, with apache_beam's DirectRunner."
        )


def arguments(program: Recognised) -> list[str]:
    """The arguments of a component. A custom job that it starts may be written with camelCase names, as JSON of the
    API; its client takes snake_case alone."""
    words = list(program.arguments)
    if _CUSTOM_JOB.fullmatch(program.module) and "--payload" in words[:-1]:
        place = words.index("--payload") + 1
        with contextlib.suppress(ValueError, RecursionError):  # then the component says what is wrong
            words[place] = json.dumps(_snake_case(json.loads(words[place])))
    return words


def _snake_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_snake_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name): one
        if name == "labels"
        else _snake_case(one)
        for name, one in value.items()
    }


def stored(gcs: Gcs, path: str) -> Path | None:
    """The file at `path` below /gcs that a job wrote which a component had started: the component saw Cloud Storage as
    it was before."""
    try:
        return gcs.path(gcs.find(f"gs://{path.removeprefix('/gcs/')}"))
    except PorticoError:
        return None


def failed(connection: Connection, changes: Path, executor_input: Mapping[str, Any]) -> list[str]:
    """What the jobs and operations that a component started have failed with, in words; `changes` are the task's own
    files below /gcs."""
    try:
        told = outputs.parameter(changes, executor_input, "gcp_resources")
    except PorticoError:
        return []
    return [
        f"{name.split('/', 4)[-1]} ended with: {message}"
        for name in _named(told or "")
        if (found := resources.get(connection, name)) and (message := _message(found.body))
    ]


def _named(text: str) -> Iterator[str]:
    """The names of the resources in a GcpResources as JSON."""
    try:
        listed = json.loads(text)["resources"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    for one in listed if isinstance(listed, Sequence) else ():
        uri = one.get("resourceUri") if isinstance(one, dict) else None
        if isinstance(uri, str) and (found := _VERTEX.fullmatch(uri)):
            yield found["name"]


def _message(body: Mapping[str, Any]) -> str:
    return str((body.get("error") or {}).get("message") or "")
