"""A custom job's spec, checked when it is asked for: what can't be run is refused then, by the field's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.jobs.engines import machine
from portico.services.aiplatform import machine_types
from portico.services.aiplatform.custom import own_images, training_images
from portico.store.gcs import Gcs, parse_uri
from portico.store.jobs import Resources

DISK = 16 << 30  # bytes that a job may write
LONGEST = 7 * 24 * 3600.0  # seconds, Google's default
_DISKS = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
_POOLS, _WORKERS = 4, 64
_SHARE = 0.75  # of the machine's memory that all workers of a job may have
_MOST = 100  # packages, environment variables
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+")
_EXPERIMENT = re.compile(r"projects/[^/]+/locations/[^/]+/metadataStores/[^/]+/contexts/[^/]+")
# Fields of a job's and of its pools' that say how Google's network and its people reach it, and have no effect here.
_WITHOUT_EFFECT = (
    "network", "reservedIpRanges", "pscInterfaceConfig", "enableWebAccess", "enableDashboardAccess",
    "protectedArtifactLocationId", "models",
)  # fmt: skip
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check(spec: dict[str, Any], field: str, gcs: Gcs) -> None:
    """Checks a CustomJobSpec that stands at `field` of the request; images that were built here are in `gcs`.

    Raises:
        InvalidArgument, Unimplemented: naming the field.
    """
    pools = spec.get("workerPoolSpecs") or []
    if not pools or not pools[0]:
        raise InvalidArgument(
            f"{field}.workerPoolSpecs needs a first pool.", field=f"{field}.workerPoolSpecs"
        )
    if len(pools) > _POOLS:
        raise InvalidArgument(f"There are at most {_POOLS} pools.", field=f"{field}.workerPoolSpecs")
    for number, pool in enumerate(pools):
        if pool:
            image = _check_pool(pool, f"{field}.workerPoolSpecs[{number}]", gcs)
            if (image.engine or image.built) and spec.get("persistentResourceId"):
                raise Unimplemented(
                    "A container of its own can't run on a persistent resource here.",
                    field=f"{field}.persistentResourceId",
                )
    if _count(pools[0]) > 1:
        raise InvalidArgument(
            "The first pool has one replica, the chief; others go into workerPoolSpecs[1].",
            field=f"{field}.workerPoolSpecs[0].replicaCount",
        )
    if count({"workerPoolSpecs": pools}) > _WORKERS:
        raise InvalidArgument(
            f"At most {_WORKERS} workers run on one machine.", field=f"{field}.workerPoolSpecs"
        )
    timeout_of(spec, field)
    if seconds_of((spec.get("scheduling") or {}).get("maxWaitDuration")) < 0:
        raise InvalidArgument(
            "A maxWaitDuration can't be negative.", field=f"{field}.scheduling.maxWaitDuration"
        )
    for key in ("experiment", "experimentRun"):
        if (named := spec.get(key)) and not _EXPERIMENT.fullmatch(named):
            raise InvalidArgument(
                f"{named[:80]!r} is no {key}; one looks like "
                "projects/P/locations/L/metadataStores/default/contexts/NAME.",
                field=f"{field}.{key}",
            )
    if (account := spec.get("serviceAccount")) and not _ACCOUNT.fullmatch(account):
        raise InvalidArgument(
            f"{account!r} is no service account; one looks like NAME@PROJECT.iam.gserviceaccount.com.",
            field=f"{field}.serviceAccount",
        )
    if prefix := (spec.get("baseOutputDirectory") or {}).get("outputUriPrefix"):
        _check_uri(prefix, f"{field}.baseOutputDirectory.outputUriPrefix")


def timeout_of(spec: Mapping[str, Any], field: str = "jobSpec") -> float:
    """Seconds that the job may run."""
    seconds = seconds_of((spec.get("scheduling") or {}).get("timeout"))
    if seconds < 0:
        raise InvalidArgument("A timeout can't be negative.", field=f"{field}.scheduling.timeout")
    return seconds or LONGEST


def seconds_of(duration: str | None) -> float:
    """Of a duration such as "3.5s"; 0 for none."""
    return float(duration.removesuffix("s")) if duration else 0.0


def without_effect(spec: Mapping[str, Any]) -> list[str]:
    """Which fields of the spec were given and have no effect here."""
    found = [f"jobSpec.{key}" for key in _WITHOUT_EFFECT if spec.get(key)]
    scheduling = spec.get("scheduling") or {}
    return found + [
        f"jobSpec.scheduling.{key}" for key in ("strategy", "maxWaitDuration") if scheduling.get(key)
    ]


def shown(spec: dict[str, Any]) -> dict[str, Any]:
    """As the resource shows it: with the limits that nobody gave, as on Vertex AI."""
    scheduling = dict(spec.get("scheduling") or {})
    scheduling.setdefault("timeout", f"{LONGEST:.0f}s")
    disk = {"diskSpec": {"bootDiskSizeGb": DISK >> 30}}
    pools = [{**disk, **pool} if pool else pool for pool in spec["workerPoolSpecs"]]
    return {**spec, "scheduling": scheduling, "workerPoolSpecs": pools}


def counts(spec: Mapping[str, Any]) -> list[int]:
    """How many replicas each pool has."""
    return [_count(pool) if pool else 0 for pool in spec["workerPoolSpecs"]]


def count(spec: Mapping[str, Any]) -> int:
    """How many workers the job has."""
    return sum(counts(spec))


def asks_of(home: Path, spec: Mapping[str, Any], *, stays: bool = False) -> Resources:
    """What the job needs of the machine, by which jobs queue: the one place where that is decided.

    Each worker asks for the cores and the memory of its machine type; all together for no more than this machine has,
    and of several cores they leave one to Portico's own work. A type with more cores than this machine is taken for
    the part of it that there is here: an n1-standard-4 (4 cores, 15 GiB) on 2 cores asks for half its memory, so that
    two such jobs run side by side, and each may use all 15 GiB while there is room; where there is not, what uses more
    than it asked for begins anew, alone (`kinds.Crowded`). A type with more memory than this machine is not divided:
    it asks for three quarters of the machine's, so that one such job runs at a time.

    Of a cluster's machine it asks for all that its machine type has, or what the largest machine has; but not where it
    `stays` on this one.
    """
    if not stays and (asked := _asks_elsewhere(home, spec)):
        return asked
    here = machine.resources()
    cores = memory = 0.0
    for number, (pool, replicas) in enumerate(zip(spec["workerPoolSpecs"], counts(spec), strict=True)):
        part = 1.0
        if pool and machine_types.whole_memory(pool) <= here.memory * _SHARE:
            part = min(1.0, here.cores / machine_types.cores(pool))
        cores += replicas * (machine_types.cores(pool) if pool else 0)
        memory += replicas * part * memory_of(home, spec, number)
    return Resources(cores=min(cores, max(1.0, here.cores - 1)), memory=int(memory))


def _asks_elsewhere(home: Path, spec: Mapping[str, Any]) -> Resources | None:
    pools = [
        (pool, count) for pool, count in zip(spec["workerPoolSpecs"], counts(spec), strict=True) if count
    ]
    cores = float(sum(machine_types.cores(pool) * count for pool, count in pools))
    accelerators = sum(machine_types.accelerators(pool) * count for pool, count in pools)
    return machine.fitted(home, Resources(cores, memory_of_all(home, spec), accelerators))


def memory_of_all(home: Path, spec: Mapping[str, Any]) -> int:
    return sum(memory_of(home, spec, number) * count for number, count in enumerate(counts(spec)))


def memory_of(home: Path, spec: Mapping[str, Any], pool: int) -> int:
    """Bytes that each worker of a pool may use at most: its machine type's, or its part of what there is for all."""
    whole = max((one.memory for one in machine.elsewhere(home)), default=0)
    asked = [
        machine_types.memory(one, whole) * replicas
        for one, replicas in zip(spec["workerPoolSpecs"], counts(spec), strict=True)
    ]
    own = machine_types.memory(spec["workerPoolSpecs"][pool], whole)
    most = int((whole or machine.resources().memory) * _SHARE)
    return own if sum(asked) <= most or count(spec) == 1 else own * most // sum(asked)


def is_python(spec: Mapping[str, Any], gcs: Gcs) -> bool:
    """Whether all that the job runs is one Python."""
    container = spec["workerPoolSpecs"][0].get("containerSpec")
    command = [*(container.get("command") or []), *(container.get("args") or [])] if container else ["python"]
    image = image_of(spec["workerPoolSpecs"][0], gcs)
    return (
        count(spec) == 1
        and not (image.engine or image.built)
        and command[0].rpartition("/")[2] in ("python", "python3")
    )


def image_of(pool: Mapping[str, Any], gcs: Gcs, field: str = "") -> training_images.TrainingImage:
    """What a pool's image is here; one that was built here goes before any other of its name.

    Raises:
        InvalidArgument, FailedPrecondition: as `training_images.resolve`.
    """
    if package := pool.get("pythonPackageSpec"):
        return training_images.resolve(
            package.get("executorImageUri", ""), f"{field}.pythonPackageSpec.executorImageUri"
        )
    uri = str((pool.get("containerSpec") or {}).get("imageUri") or "")
    return own_images.find(gcs, uri) or training_images.resolve(uri, f"{field}.containerSpec.imageUri")


def _count(pool: Mapping[str, Any]) -> int:
    return int(pool.get("replicaCount") or 1)


def _check_pool(pool: dict[str, Any], field: str, gcs: Gcs) -> training_images.TrainingImage:
    if _count(pool) < 1:
        raise InvalidArgument("replicaCount must be at least 1.", field=f"{field}.replicaCount")
    machine_types.check(pool, field)
    if (kind := (pool.get("diskSpec") or {}).get("bootDiskType")) and kind not in _DISKS:
        raise InvalidArgument(
            f"bootDiskType is one of {', '.join(_DISKS)}, not {kind!r}.",
            field=f"{field}.diskSpec.bootDiskType",
        )
    if int((pool.get("diskSpec") or {}).get("bootDiskSizeGb") or 0) < 0:
        raise InvalidArgument("A disk can't be negative.", field=f"{field}.diskSpec.bootDiskSizeGb")
    if pool.get("nfsMounts"):
        raise Unimplemented(
            "Mounts of NFS are not built in Portico yet: put the files into a bucket, and read them below /gcs/.",
            field=f"{field}.nfsMounts",
        )
    package, container = pool.get("pythonPackageSpec"), pool.get("containerSpec")
    if bool(package) == bool(container):
        raise InvalidArgument(f"{field} needs one of pythonPackageSpec and containerSpec.", field=field)
    image = image_of(pool, gcs, field)
    if package:
        if image.engine:
            raise Unimplemented(
                "A package runs in one of Google's prebuilt training images here, or in python:3.X.",
                field=f"{field}.pythonPackageSpec.executorImageUri",
            )
        _check_package(package, f"{field}.pythonPackageSpec")
    elif (
        not (image.engine or image.built)
        and not (container or {}).get("command")
        and not (container or {}).get("args")
    ):
        raise InvalidArgument(
            "A prebuilt training image has no command of its own: give command or args.",
            field=f"{field}.containerSpec.command",
        )
    runs, field = package or container or {}, f"{field}.{'pythonPackageSpec' if package else 'containerSpec'}"
    for key in ("command", "args"):
        for number, word in enumerate(runs.get(key) or []):
            _check_word(word, f"{field}.{key}[{number}]")
    for number, variable in enumerate(runs.get("env") or []):
        if not _NAME.fullmatch(variable.get("name", "")):
            raise InvalidArgument(
                f"{variable.get('name')!r} is no name of an environment variable.",
                field=f"{field}.env[{number}].name",
            )
        _check_word(variable.get("value", ""), f"{field}.env[{number}].value")
    return image


def _check_word(word: str, field: str) -> None:
    """That an argument or a variable's value is one that a system can start a program with."""
    if "\0" in word:
        raise InvalidArgument("No program can be started with a NUL character: leave it out.", field=field)


def _check_package(package: dict[str, Any], field: str) -> None:
    uris = package.get("packageUris") or []
    if not uris or len(uris) > _MOST:
        raise InvalidArgument(f"Between 1 and {_MOST} packages are needed.", field=f"{field}.packageUris")
    for number, uri in enumerate(uris):
        _check_uri(uri, f"{field}.packageUris[{number}]")
    if not _MODULE.fullmatch(package.get("pythonModule", "")):
        raise InvalidArgument(
            f"{package.get('pythonModule')!r} is no name of a Python module; one looks like trainer.task.",
            field=f"{field}.pythonModule",
        )


def _check_uri(uri: str, field: str) -> None:
    try:
        parse_uri(uri)
    except InvalidArgument as error:
        raise InvalidArgument(error.message, field=field) from None
