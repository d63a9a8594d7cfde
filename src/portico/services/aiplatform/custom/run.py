"""The work of a custom job: the user's code in its environment, behind walls, with its log, its limits and its end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import Cancelled, PorticoError
from portico.jobs.engines import machine
from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.sandbox import containers, isolation
from portico.sandbox.clients import in_container
from portico.sandbox.containers import Container
from portico.sandbox.installer import Teller
from portico.sandbox.niceness import be_nice
from portico.services.aiplatform import source_images
from portico.services.aiplatform.custom import (
    contract,
    gcs_view,
    identity,
    own_images,
    packages,
    spec,
    workers,
)
from portico.services.aiplatform.custom.acting import Acting
from portico.services.aiplatform.custom.environments import held, python_again, python_of
from portico.services.aiplatform.custom.imported import modules_of
from portico.services.aiplatform.custom.kept import Kept, take
from portico.services.aiplatform.custom.output import Output
from portico.services.aiplatform.custom.own_images import OwnImage
from portico.services.aiplatform.custom.persistent_resources import PERSISTENT
from portico.services.aiplatform.custom.recognised import packaged, recognise
from portico.services.aiplatform.custom.record import SEEDS, Record
from portico.services.aiplatform.custom.training_images import TrainingImage
from portico.services.aiplatform.custom.workers import Group, Terms, Worker
from portico.services.aiplatform.custom.written import Written, variables
from portico.services.aiplatform.reruns import pins
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.standard.jobs import JobPrivate
from portico.services.standard.sources import gcs_of

_PROCESSES = 512
_FREE = 0.5  # seconds between two looks for a free replica of a persistent resource


def run(context: Context) -> dict[str, Any] | Wait:
    """Job: runs what a CustomJob says to its end.

    Raises:
        FailedPrecondition, DeadlineExceeded, ResourceExhausted, Cancelled: it did not succeed; the message says why.
    """
    payload = context.job.payload
    kept = replica_of(context, payload["spec"])
    if isinstance(kept, Wait):
        return kept
    try:
        return run_spec(context, payload["spec"], payload["job"], payload.get("data") or {}, kept)
    finally:
        if kept:
            kept.close()


def replica_of(context: Context, job_spec: Mapping[str, Any]) -> Kept | Wait | None:
    """A free replica of the persistent resource that the job names, for its one worker; or what it waits for."""
    name = context.job.payload.get("persistent")
    if not name or spec.count(job_spec) != 1:
        return None
    with context.database.read() as connection:
        resource = PERSISTENT.require(connection, name)
    kept = take(context, JobPrivate.of(resource).job)
    if kept is None:
        return Wait(context.clock.now() + _FREE, why=f"waits for a free replica of {name.rpartition('/')[2]}")
    return kept


def run_spec(
    context: Context,
    job_spec: dict[str, Any],
    name: str,
    data: Mapping[str, str],
    kept: Kept | None = None,
    ready: Callable[[Path], None] = lambda folder: None,
) -> dict[str, Any]:
    """Runs a CustomJobSpec for the resource `name`; `data` are variables about its data. Its one worker runs in what
    is `kept` for it. `ready` is told the chief's own folder before anything runs. Where it repeats another job, that
    is seen in the job's payload.

    Its result has the "record" that repeats it, and in a "rerun" what came out (see `reruns.pins`)."""
    again = context.job.payload.get("rerun") or {}
    record = Record(context, name, data, again.get("record") or {}, context.clock.now())
    output = Output(context, several=spec.count(job_spec) > 1)
    base = str((job_spec.get("baseOutputDirectory") or {}).get("outputUriPrefix") or "").rstrip("/")
    try:
        made = _workers(context, job_spec, name, record, output, kept)
        be_nice()  # nobody waits for an environment any more
        view = kept.view if kept else gcs_view.make(context)
        view.lower.mkdir(exist_ok=True)
        acting = Acting(context, contract.account_of(job_spec, name), name)
        record.seen = gcs_view.fill(context, view, acting, record.past())
        for line in workers.in_words(made):
            output.service(line)
        if unused := spec.without_effect(job_spec):
            output.service(f"Without effect on this machine: {', '.join(unused)}.")
        folder = made[0].environment.get("AIP_TENSORBOARD_LOG_DIR", "")
        logs = event_logs.follow(context, job_spec, name, folder, view, output.service)
        ready(made[0].folder)
        early = None if again else Written(context, view, acting)
        try:
            with early.told(made[0].folder) if early else contextlib.nullcontext():
                Group(context, made, view, output, _terms(job_spec)).run()
        finally:
            output.drain()
            if logs:
                logs.stop()
            record.opened(view)
            place = _elsewhere(name, base) if again else lambda uri: uri
            collected = gcs_view.collect(context, view, acting, place, early)
            if logs:
                logs.finish()
        collected.check()
    except PorticoError as error:
        output.note(error.message, "WARNING" if isinstance(error, Cancelled) else "ERROR")
        raise
    else:
        output.note("Job completed successfully.")
    finally:
        output.close()
    found = record.to_json(base, collected.written)
    return {"exitCode": 0, "record": found, **pins.outcome(again, found, context.say)}


def _elsewhere(name: str, base: str) -> Callable[[str], str]:
    """Where the rerun `name` puts what it writes: nothing in the place of what the first wrote."""

    def place(uri: str) -> str:
        bucket, _, rest = uri.removeprefix("gs://").partition("/")
        inside = base and uri.startswith(f"{base}/")
        return uri if inside else f"gs://{bucket}/{pins.folder_of(name)}/{rest}"

    return place


def _terms(job_spec: Mapping[str, Any]) -> Terms:
    scheduling = job_spec.get("scheduling") or {}
    return Terms(
        spec.timeout_of(job_spec),
        restart_all=bool(scheduling.get("restartJobOnWorkerRestart")),
        retries=not scheduling.get("disableRetries"),
    )


def _workers(
    context: Context,
    job_spec: dict[str, Any],
    name: str,
    record: Record,
    output: Output,
    kept: Kept | None,
) -> list[Worker]:
    """All workers of the job, the chief first, with their environments made."""
    counts = spec.counts(job_spec)
    account = contract.account_of(job_spec, name)
    acts_as = identity.shown(context, account, spec.timeout_of(job_spec), output.service)
    first, *open_ports = workers.ports(1 + sum(counts))
    cluster = contract.Cluster.of(counts, open_ports, first)
    made: list[Worker] = []
    for number, count in enumerate(counts):
        if not count:
            continue
        place = _place(context, job_spec, name, number, record, output, kept)
        limits, data = place.limits, record.data
        if machine.elsewhere(context.home):  # where it asked for no more than there is
            whole = spec.memory_of_all(context.home, job_spec)
        elif "CLOUD_ML_TRIAL_ID" in data:  # which asked for no more than leaves room for others
            whole = spec.asks_of(context.home, job_spec).memory
        else:
            whole = context.job.memory
        if context.job.memory < whole:
            limits = dataclasses.replace(limits, memory=limits.memory * context.job.memory // whole)
        for index in range(count):
            task = f"workerpool{number}-{index}"
            environment = _over(
                place.environment | acts_as, contract.variables(job_spec, name, data, cluster, number, index)
            )
            scratch = kept.folder / "work" if kept else contract.folder(context.folder, number, index)
            command = place.command
            if place.image:
                asked = job_spec["workerPoolSpecs"][number]["containerSpec"]
                command, told = own_images.placed(place.image, asked, scratch)
                environment = told | environment | {"PATH": _joined(told, environment, "PATH"),
                                                    "PYTHONPATH": _joined(told, environment, "PYTHONPATH")}  # fmt: skip
            # Also where nobody tunes: without it cloudml-hypertune writes into /var.
            environment["CLOUD_ML_HP_METRIC_FILE"] = str(contract.metric_file(scratch))
            if not made:  # the chief, which registers what it has written
                environment |= variables(scratch)
            made.append(
                Worker(task, command, place.readable, environment, scratch, limits, kept, place.container)
            )
    return made


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the workers of one pool run."""

    python: Path
    readable: list[Path]
    environment: dict[str, str]
    limits: isolation.Limits
    command: list[str]
    container: Container | None = None
    image: OwnImage | None = None  # of which each has a copy


def _over(ours: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """`given` over `ours`. But of the lists by which the job's own packages, Google's clients and commands are found
    what the user gives comes after ours, and not in its place."""
    lists = {name: _joined(given, ours, name) for name in ("PATH", "PYTHONPATH") if name in given}
    return {**ours, **given, **lists}


def _joined(image: Mapping[str, str], ours: Mapping[str, str], name: str) -> str:
    """A list of paths: ours, and then what the image adds."""
    return ":".join(filter(None, (ours.get(name), image.get(name))))


def _place(
    context: Context,
    job_spec: dict[str, Any],
    name: str,
    number: int,
    record: Record,
    output: Output,
    kept: Kept | None,
) -> _Place:
    pool = job_spec["workerPoolSpecs"][number]
    image = spec.image_of(pool, gcs_of(context))
    if image.accelerated or (pool.get("machineSpec") or {}).get("acceleratorCount"):
        output.service("This machine has no accelerator; the job runs on its processors.")
    limits = isolation.Limits(
        spec.memory_of(context.home, job_spec, number), files=65_536, file_size=spec.DISK, disk=spec.DISK,
        seconds=int(spec.timeout_of(job_spec)), processes=_PROCESSES,
    )  # fmt: skip
    if image.engine:
        return _in_container(context, pool["containerSpec"], output, image, limits)
    if image.built:
        return _built_here(context, number, record, output, image, limits)
    needed: list[str] = []
    package, gcs = pool.get("pythonPackageSpec"), gcs_of(context)
    folder = context.folder / "packages" / str(number)
    if not package and (package := packaged(pool["containerSpec"])):
        Acting(context, contract.account_of(job_spec, name), name).require(package["packageUris"])
    field = f"jobSpec.workerPoolSpecs[{number}].pythonPackageSpec.packageUris"
    unpacked = (
        packages.unpack(gcs, package["packageUris"], folder, field, record.package) if package else None
    )
    if unpacked:
        needed = unpacked.requirements
    program = recognise([] if package else _whole(pool["containerSpec"]))
    teller = Teller(output.service, context.check, held)
    if record.again:
        python = python_again(record.again["environments"][len(record.pythons)], context.home, teller)
    else:
        needed = [*needed, *program.requirements]
        python = python_of(image, needed, context.home, teller, program.apart, program.options)
    record.pythons.append((image.short, python))
    context.check()
    environment, readable = identity.pointed(context, python, [])
    if kept:
        given = ((package or pool["containerSpec"]).get("env")) or []
        started = _over(environment, {one["name"]: one.get("value", "") for one in given})
        begun = [str(python), "-m", package["pythonModule"]] if package else program.command
        kept.prepare(
            {
                "python": str(python),
                "readable": list(map(str, readable)),
                # What decides what an import does must be there before it.
                "environment": SEEDS | started | {"CLOUD_ML_JOB_ID": "0", "PYTHONUNBUFFERED": "1"},
                "limits": dataclasses.asdict(limits),
                "modules": ",".join(modules_of(begun, unpacked.paths if unpacked else ()))
                if kept.forks
                else "",
            }
        )
        if kept.warm:
            output.service("A process that waited for it runs it.")
        elif not kept.forks:
            output.service("A new process runs it; others will wait.")
        if package and unpacked:  # again, where that process can read it
            unpacked = packages.unpack(gcs, package["packageUris"], kept.folder / "packages" / "0", field)
    if unpacked:
        environment, readable = identity.pointed(context, python, unpacked.paths)
    command = [str(python), "-m", package["pythonModule"], *(package.get("args") or [])] if package else None
    return _Place(python, readable, environment, limits, command or list(program.command))


def _in_container(
    context: Context, asked: Mapping[str, Any], output: Output, image: TrainingImage, limits: isolation.Limits
) -> _Place:
    output.service(f"{image.short} runs in a container: {containers.version(image.engine)}")
    environment, readable = in_container(context.home)
    command, args = asked.get("command") or [], asked.get("args") or []
    container = Container(image.engine, image.short, command, args, readable)
    return _Place(Path(), [], environment, limits, _whole(asked), container)


def _built_here(
    context: Context,
    number: int,
    record: Record,
    output: Output,
    image: TrainingImage,
    limits: isolation.Limits,
) -> _Place:
    row = record.package(source_images.place_of(image.short))
    own = own_images.opened(gcs_of(context), row, context.folder / "images" / str(number))
    output.service(
        f"{image.short} runs without a container, from its source: {own.base.short} and its own files."
    )
    teller = Teller(output.service, context.check)
    if record.again:
        python = python_again(record.again["environments"][len(record.pythons)], context.home, teller)
    else:
        python = python_of(own.base, own.requirements, context.home, teller)
    record.pythons.append((image.short, python))
    context.check()
    environment, readable = identity.pointed(context, python, own.paths)
    return _Place(python, readable, environment, limits, [], image=own)


def _whole(container: Mapping[str, Any]) -> list[str]:
    return [*(container.get("command") or []), *(container.get("args") or [])]
