"""Runs what one task of a pipeline says: a component's container, as the Python, shell or container that it is here."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.errors import Cancelled, DeadlineExceeded, FailedPrecondition, PorticoError
from portico.jobs.worker import Context
from portico.ml import openmp
from portico.sandbox import containers, environments
from portico.sandbox.clients import in_container
from portico.sandbox.containers import Container
from portico.sandbox.installer import Teller
from portico.sandbox.isolation import Limits, View
from portico.sandbox.niceness import be_nice
from portico.services.aiplatform.custom import contract, gcs_view, identity, spec, workers, written
from portico.services.aiplatform.custom.acting import Acting
from portico.services.aiplatform.custom.environments import held, python_of
from portico.services.aiplatform.custom.output import Output
from portico.services.aiplatform.custom.recognised import Recognised, recognise
from portico.services.aiplatform.custom.workers import Group, Terms, Worker
from portico.services.aiplatform.custom.written import Written
from portico.services.aiplatform.pipelines.components import (
    evaluation,
    images,
    kfp_says,
    notification,
    outputs,
    own_python,
    prebuilt,
    resources,
    seen,
    warm,
)
from portico.services.aiplatform.pipelines.components.images import Base
from portico.services.aiplatform.pipelines.components.warm import Warm
from portico.services.standard.sources import gcs_of

_TASK = "workerpool0-0"  # a task of a pipeline is a custom job of one worker
_PROCESSES = 512
_FILES = 65_536
# What decides what an import does.
_STARTED = {"PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0", **openmp.ENVIRONMENT}
_LACKS = "No such file or directory: '/gcs/"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
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
    """Runs it to its end; what it wrote for others: {"parameterValues", "artifacts"} (see `outputs.read`), and the
    "environment" in which it ran (`environments.contents`), where it has one.

    Raises:
        FailedPrecondition: it failed, with its exit status and its last lines; or its image can't be run here.
        InvalidArgument, DeadlineExceeded, ResourceExhausted, Cancelled
    """
    output = Output(context, several=False, passed_over=kfp_says.Lines())
    try:
        return _run(context, launch, output)
    except PorticoError as error:
        output.note(error.message, "WARNING" if isinstance(error, Cancelled) else "ERROR")
        raise
    finally:
        output.close()


def _run(context: Context, launch: Launch, output: Output) -> dict[str, Any]:
    base, program = images.base_of(launch.image), recognise([*launch.command, *launch.args])
    if base.evaluation:
        output.service(f"{base.uri}: Portico's own evaluation stands in for it.")
        _acting(context, launch).require([*launch.command, *launch.args, launch.executor_input])
        return evaluation.run(context, [*launch.command, *launch.args], launch.executor_input)
    if program.module == notification.MODULE:
        return notification.run(launch.executor_input, output.service)
    given = variables(context, launch, output)
    limits = Limits(
        launch.memory or resources.memory_of({}), files=_FILES, file_size=spec.DISK, disk=spec.DISK,
        seconds=int(launch.timeout or spec.LONGEST), processes=_PROCESSES,
    )  # fmt: skip
    if base.python is None or not program.module:
        worker, contents = _of_command(context, launch, base, program, given, limits, output)
        view = gcs_view.make(context)
        return _to_its_end(context, launch, program, worker, view, None, output) | {"environment": contents}
    prebuilt.require_built(program.module)
    teller = Teller(output.service, context.check, held)
    python = python_of(
        base.python, program.requirements, context.home, teller, program.apart, program.options
    )
    told = {"environment": _contents(context, python)}
    kept = warm.take(context, _recipe(context, python, program, limits))
    try:
        if kept:
            worker = _of_source(context, program, python, given, limits, kept)
            try:
                done = _to_its_end(context, launch, program, worker, kept.view, kept, output) | told
                context.unspent = True
                return done
            except FailedPrecondition:
                if not kept.lost:
                    raise
                output.service(
                    "The process that it was forked from is gone; it begins anew in one of its own."
                )
        worker = _of_source(context, program, python, given, limits, None)
        view = gcs_view.make(context)
        return _to_its_end(context, launch, program, worker, view, None, output) | told
    finally:
        if kept:
            kept.close()


def _acting(context: Context, launch: Launch) -> Acting:
    place = f"projects/{launch.project}/locations/{launch.location}"
    return Acting(context, contract.account_of({"serviceAccount": launch.service_account}, place), place)


def _to_its_end(
    context: Context,
    launch: Launch,
    program: Recognised,
    worker: Worker,
    view: View,
    kept: Warm | None,
    output: Output,
) -> dict[str, Any]:
    if kept is None:  # what is kept has been nice for long; here is only watched what it does
        be_nice()
    view.lower.mkdir(exist_ok=True)
    named = seen.named(program, launch.executor_input, launch.env)
    acting = _acting(context, launch)
    gcs_view.fill(context, view, acting, None, named)
    bucket = outputs.bucket_of(launch.executor_input)
    if bucket and not (view.lower / bucket).is_dir():
        raise FailedPrecondition(
            f"The task writes to gs://{bucket}, and there is no such bucket: make it, or give another pipeline root."
        )
    for line in workers.in_words([worker]):
        output.service(line)
    early = Written(context, view, acting)
    worker.environment.update(written.variables(worker.folder))
    try:
        with early.told(worker.folder):
            Group(context, [worker], view, output, Terms(launch.timeout or spec.LONGEST)).run()
    except DeadlineExceeded:
        raise DeadlineExceeded(
            f"The task ran longer than its timeout of {launch.timeout:g} seconds."
        ) from None
    except FailedPrecondition as error:
        if named is not None and _LACKS in error.message:
            error.message += seen.WORDS
        with context.database.read() as connection:
            said = prebuilt.failed(connection, view.changes, launch.executor_input)
        error.message = "\n".join([error.message, *said])
        raise
    if kept:
        kept.clear()
    else:
        shutil.rmtree(worker.folder, ignore_errors=True)
    output.end(_TASK)
    gcs = gcs_of(context)
    waited = bool(program.module) and program.source is None
    stored = (lambda path: prebuilt.stored(gcs, path)) if waited else (lambda path: None)
    found = outputs.read(view.changes, launch.executor_input, stored)
    gcs_view.collect(context, view, acting, written_before=early).check()
    return found


def _of_command(
    context: Context,
    launch: Launch,
    base: Base,
    program: Recognised,
    given: dict[str, str],
    limits: Limits,
    output: Output,
) -> tuple[Worker, str]:
    """The process of a container that is no lightweight component, and its environment's contents."""
    scratch, whole = _scratch(context), [*launch.command, *launch.args]
    if base.engine:
        output.service(f"{base.uri} runs in a container: {containers.version(base.engine)}")
        environment, readable = in_container(context.home)
        container = Container(base.engine, base.uri, launch.command, launch.args, readable)
        return Worker(_TASK, whole, [], environment | given, scratch, limits, container=container), ""
    if not whole:
        raise FailedPrecondition(
            f"{launch.image} runs here without its image's own entrypoint: give the component a command.",
            field="container.command",
        )
    if base.python is None:
        output.service(f"{base.uri}: its command runs in this machine's own shell, behind the job's walls.")
        environment, readable = in_container(context.home)
        _require(whole[0], (environment | given).get("PATH") or _PATH, launch.image, "this machine's shell")
        return Worker(_TASK, whole, readable, environment | given, scratch, limits), ""
    teller = Teller(output.service, context.check, held)
    needed = ["pip", *program.requirements]
    python = python_of(base.python, needed, context.home, teller, program.apart, program.options)
    own = own_python.make(python, scratch)
    environment, readable = identity.pointed(context, python, [])
    pip, files = own_python.of_pip()
    path = f"{own.parent}:{environment['PATH']}"
    environment |= {**pip, "PATH": path, "VIRTUAL_ENV": str(own.parent.parent)}
    if program.command:
        _require(program.command[0], (environment | given)["PATH"], launch.image, "a Python environment")
    worker = Worker(_TASK, [*program.command], [*readable, *files], environment | given, scratch, limits)
    return worker, _contents(context, python)


def _require(program: str, path: str, image: str, stands: str) -> None:
    """
    Raises:
        FailedPrecondition: what stands for an image here has no such program.
    """
    if "/" not in program and shutil.which(program, path=path) is None:
        raise FailedPrecondition(
            f"There is no program {program!r} in what {image} is here, {stands}. An image that has it is a container "
            f"image of its own: {containers.NEEDED}.",
            field="container.command",
        )


def _contents(context: Context, python: Path) -> str:
    return environments.contents(context.home / "envs", python.parent.parent.name)


def _of_source(
    context: Context,
    program: Recognised,
    python: Path,
    given: dict[str, str],
    limits: Limits,
    kept: Warm | None,
) -> Worker:
    """The process of a lightweight component, whose source is put where it runs, or of one of Google's."""
    scratch = kept.folder / "work" if kept else _scratch(context)
    environment, readable = identity.pointed(context, python, [])
    command = [str(python), "-m", program.module, *prebuilt.arguments(program)]
    if program.source is not None:
        file = scratch / "program" / _PROGRAM
        file.parent.mkdir()
        file.write_text(program.source)
        command[3:3] = ["--component_module_path", str(file)]
    return Worker(
        _TASK, command, readable, environment | dict(program.variables) | given, scratch, limits, kept
    )


def _recipe(context: Context, python: Path, program: Recognised, limits: Limits) -> dict[str, Any]:
    """Of a process that has imported what kfp imports for a component, or what Google's stand on."""
    modules = prebuilt.MODULES if program.source is None else f"{program.module},shutil,tempfile"
    environment, readable = identity.pointed(context, python, [])
    environment.pop("MLFLOW_TRACKING_URI", None)  # a project's
    return {
        "python": str(python),
        "readable": list(map(str, readable)),
        "environment": environment | dict(program.variables) | _STARTED,
        "limits": dataclasses.asdict(dataclasses.replace(limits, seconds=0)),
        "modules": modules,  # what it imports when it runs
    }


def _scratch(context: Context) -> Path:
    folder = contract.folder(context.folder, 0, 0)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


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
        **_STARTED,
        **identity.shown(context, account, seconds, output.service),
        **launch.env,
    }
