"""The work of a custom job: the user's code in its environment, behind walls, with its log, its limits and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from portico.errors import Cancelled, PorticoError
from portico.jobs.worker import Context
from portico.sandbox import environments, isolation
from portico.services.aiplatform.custom import contract, gcs_view, packages, spec, workers
from portico.services.aiplatform.custom.environments import python_of
from portico.services.aiplatform.custom.output import Output
from portico.services.aiplatform.custom.workers import Group, Terms, Worker
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.standard.sources import gcs_of

_PROCESSES = 512

# How Google's clients find this server, and a folder for PYTHONPATH: set by `host`, which knows.
clients: Callable[[Path], tuple[dict[str, str], Path]] | None = None


def run(context: Context) -> dict[str, Any]:
    """Job: runs what a CustomJob says to its end.

    Raises:
        FailedPrecondition, DeadlineExceeded, ResourceExhausted, Cancelled: it did not succeed; the message says why.
    """
    payload = context.job.payload
    return run_spec(context, payload["spec"], payload["job"], {})


def run_spec(
    context: Context, job_spec: dict[str, Any], name: str, data: Mapping[str, str]
) -> dict[str, Any]:
    """Runs a CustomJobSpec for the resource `name`; `data` are variables about its data."""
    output = Output(context, several=spec.count(job_spec) > 1)
    try:
        made = _workers(context, job_spec, name, data, output)
        view = gcs_view.make(context)
        for line in workers.in_words(made):
            output.service(line)
        folder = made[0].environment.get("AIP_TENSORBOARD_LOG_DIR", "")
        logs = event_logs.follow(context, job_spec, name, folder, view, output.service)
        try:
            Group(context, made, view, output, _terms(job_spec)).run()
        finally:
            output.drain()
            if logs:
                logs.stop()
            gcs_view.collect(context, view)
            if logs:
                logs.finish()
    except PorticoError as error:
        output.note(error.message, "WARNING" if isinstance(error, Cancelled) else "ERROR")
        raise
    else:
        output.note("Job completed successfully.")
    finally:
        output.close()
    return {"exitCode": 0}


def _terms(job_spec: Mapping[str, Any]) -> Terms:
    scheduling = job_spec.get("scheduling") or {}
    return Terms(
        spec.timeout_of(job_spec),
        restart_all=bool(scheduling.get("restartJobOnWorkerRestart")),
        retries=not scheduling.get("disableRetries"),
    )


def _workers(
    context: Context, job_spec: dict[str, Any], name: str, data: Mapping[str, str], output: Output
) -> list[Worker]:
    """All workers of the job, the chief first, with their environments made."""
    pools = job_spec["workerPoolSpecs"]
    counts = spec.counts(job_spec)
    first, *open_ports = workers.ports(1 + sum(counts))
    cluster = contract.Cluster.of(counts, open_ports, first)
    settings, injected = clients(context.home) if clients else ({}, Path("/"))
    made: list[Worker] = []
    for number, count in enumerate(counts):
        if not count:
            continue
        pool = pools[number]
        image = spec.image_of(pool)
        if image.accelerated or (pool.get("machineSpec") or {}).get("acceleratorCount"):
            output.service("This machine has no accelerator; the job runs on its processors.")
        unpacked = packages.Unpacked([], [])
        if package := pool.get("pythonPackageSpec"):
            field = f"jobSpec.workerPoolSpecs[{number}].pythonPackageSpec.packageUris"
            folder = context.folder / "packages" / str(number)
            unpacked = packages.unpack(gcs_of(context), package["packageUris"], folder, field)
        python = python_of(image, unpacked.requirements, context.home, output.service)
        context.check()
        limits = isolation.Limits(
            spec.memory_of(job_spec, number), files=65_536, file_size=spec.DISK, disk=spec.DISK,
            seconds=int(spec.timeout_of(job_spec)), processes=_PROCESSES,
        )  # fmt: skip
        for index in range(count):
            task = f"workerpool{number}-{index}"
            environment = {
                **settings,
                "PATH": f"{python.parent}:{injected}/bin:/usr/local/bin:/usr/bin:/bin",
                "VIRTUAL_ENV": str(python.parent.parent),
                "PYTHONPATH": ":".join(map(str, [injected, *unpacked.paths])),
                **contract.variables(job_spec, name, data, cluster, number, index),
            }
            environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)  # the server's own
            readable = [*environments.prefixes(python), injected, *unpacked.paths]
            scratch = context.folder / "work" / task
            made.append(Worker(task, _command(pool, python), readable, environment, scratch, limits))
    return made


def _command(pool: Mapping[str, Any], python: Path) -> list[str]:
    if package := pool.get("pythonPackageSpec"):
        return [str(python), "-m", package["pythonModule"], *(package.get("args") or [])]
    container = pool["containerSpec"]
    return [*(container.get("command") or []), *(container.get("args") or [])]
