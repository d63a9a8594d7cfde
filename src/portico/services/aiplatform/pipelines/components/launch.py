"""Runs what one task of a pipeline says: a component's container, as the Python, shell or container that it is here."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.errors import Cancelled, DeadlineExceeded, FailedPrecondition, PorticoError
from portico.jobs.warm import be_nice
from portico.jobs.worker import Context
from portico.sandbox import containers
from portico.sandbox.clients import in_container
from portico.sandbox.containers import Container
from portico.sandbox.installer import Teller
from portico.sandbox.isolation import Limits
from portico.services.aiplatform.custom import contract, gcs_view, identity, spec, workers
from portico.services.aiplatform.custom.environments import python_of
from portico.services.aiplatform.custom.output import Output
from portico.services.aiplatform.custom.workers import Group, Terms, Worker
from portico.services.aiplatform.pipelines.components import images, outputs, own_python, resources
from portico.services.aiplatform.pipelines.components.images import Base
from portico.services.aiplatform.pipelines.components.recognised import Recognised, recognise
from portico.store.objects import buckets

_TASK = "workerpool0-0"  # a task of a pipeline is a custom job of one worker
_PROCESSES = 512
_FILES = 65_536
_PROGRAM = "ephemeral_component.py"  # as kfp calls it


@dataclass(frozen=True, slots=True)
class Launch:
    """One run of a component: every placeholder in `command` and `args` is replaced. `executor_input` is an
    ExecutorInput as JSON. `timeout` in seconds; `memory` bytes that it may use, 0 for what a task may here.
    `service_account` is as whom it acts, where it is not Vertex AI's own for the project's code."""

    image: str
    command: list[str]
    args: list[str]
    env: dict[str, str]
    executor_input: dict[str, Any]
    project: str
    location: str
    timeout: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    memory: int = 0
    service_account: str = ""


def run(context: Context, launch: Launch) -> dict[str, Any]:
    """Runs it to its end; what it wrote for others: {"parameterValues", "artifacts"} (see `outputs.read`).

    Raises:
        FailedPrecondition: it failed, with its exit status and its last lines; or its image can't be run here.
        InvalidArgument, DeadlineExceeded, ResourceExhausted, Cancelled
    """
    output = Output(context, several=False)
    try:
        return _run(context, launch, output)
    except PorticoError as error:
        output.note(error.message, "WARNING" if isinstance(error, Cancelled) else "ERROR")
        raise
    finally:
        output.close()


def _run(context: Context, launch: Launch, output: Output) -> dict[str, Any]:
    _require_bucket(context, launch)
    base, program = images.base_of(launch.image), recognise([*launch.command, *launch.args])
    view = gcs_view.make(context)
    worker = _worker(context, launch, base, program, output)
    be_nice()  # nobody waits for an environment any more
    gcs_view.fill(context, view, None)
    for line in workers.in_words([worker]):
        output.service(line)
    try:
        Group(context, [worker], view, output, Terms(launch.timeout or spec.LONGEST)).run()
    except DeadlineExceeded:
        raise DeadlineExceeded(
            f"The task ran longer than its timeout of {launch.timeout:g} seconds."
        ) from None
    finally:
        output.drain()
        shutil.rmtree(worker.folder, ignore_errors=True)
    found = outputs.read(view.changes, launch.executor_input)
    gcs_view.collect(context, view)
    return found


def _require_bucket(context: Context, launch: Launch) -> None:
    if bucket := outputs.bucket_of(launch.executor_input):
        with context.database.read() as connection:
            if bucket not in buckets.names(connection):
                raise FailedPrecondition(
                    f"The task writes to gs://{bucket}, and there is no such bucket: make it, or give another "
                    "pipeline root."
                )


def _worker(context: Context, launch: Launch, base: Base, program: Recognised, output: Output) -> Worker:
    scratch = contract.folder(context.folder, 0, 0)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    given = variables(context, launch, output)
    limits = Limits(
        launch.memory or resources.memory_of({}), files=_FILES, file_size=spec.DISK, disk=spec.DISK,
        seconds=int(launch.timeout or spec.LONGEST), processes=_PROCESSES,
    )  # fmt: skip
    whole = [*launch.command, *launch.args]
    if base.engine:
        output.service(f"{base.uri} runs in a container: {containers.version(base.engine)}")
        environment, readable = in_container(context.home)
        container = Container(base.engine, base.uri, launch.command, launch.args, readable)
        return Worker(_TASK, whole, [], environment | given, scratch, limits, container=container)
    if base.python is None:
        _require_command(launch)
        output.service(f"{base.uri}: its command runs in this machine's own shell, behind the job's walls.")
        environment, readable = in_container(context.home)
        return Worker(_TASK, whole, readable, environment | given, scratch, limits)
    teller = Teller(output.service, context.check)
    if program.source is not None:
        python = python_of(
            base.python, program.requirements, context.home, teller, program.apart, program.options
        )
        environment, readable = identity.pointed(context, python, [])
        command = lightweight(python, program, scratch)
        return Worker(
            _TASK, command, readable, environment | given | dict(program.variables), scratch, limits
        )
    _require_command(launch)
    needed = ["pip", *program.requirements]
    python = python_of(base.python, needed, context.home, teller, program.apart, program.options)
    own = own_python.make(python, scratch)
    environment, readable = identity.pointed(context, python, [])
    pip, files = own_python.of_pip()
    environment |= {
        **pip,
        "PATH": f"{own.parent}:{environment['PATH']}",
        "VIRTUAL_ENV": str(own.parent.parent),
    }
    command = [*program.command]
    return Worker(_TASK, command, [*readable, *files], environment | given, scratch, limits)


def lightweight(python: Path, program: Recognised, scratch: Path) -> list[str]:
    """The command that runs a component's source, which it puts into `scratch`."""
    assert program.source is not None
    folder = scratch / "program"
    folder.mkdir()
    file = folder / _PROGRAM
    file.write_text(program.source)
    return [str(python), "-m", program.module, "--component_module_path", str(file), *program.arguments]


def _require_command(launch: Launch) -> None:
    if not launch.command and not launch.args:
        raise FailedPrecondition(
            f"{launch.image} runs here without its image's own entrypoint: give the component a command.",
            field="container.command",
        )


def variables(context: Context, launch: Launch, output: Output) -> dict[str, str]:
    """Of a task, as Vertex AI has them in the custom job that it is there."""
    name = f"projects/{launch.project}/locations/{launch.location}/customJobs/{context.job.id}"
    account = contract.account_of({"serviceAccount": launch.service_account}, name)
    seconds = launch.timeout or spec.LONGEST
    task = {"type": "workerpool0", "index": 0, "trial": ""}
    cluster = {"workerpool0": ["127.0.0.1:2222"]}
    return {
        "CLUSTER_SPEC": json.dumps({"cluster": cluster, "environment": "cloud", "task": task}),
        "CLOUD_ML_JOB_ID": context.job.id,
        "CLOUD_ML_PROJECT_ID": launch.project,
        "CLOUD_ML_REGION": launch.location,
        "GOOGLE_CLOUD_PROJECT": launch.project,
        "VERTEX_AI_PIPELINES_RUN_LABELS": json.dumps(launch.labels),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONHASHSEED": "0",
        **identity.shown(context, account, seconds, output.service),
        **launch.env,
    }
