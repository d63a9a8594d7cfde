"""What a machine type has: https://cloud.google.com/compute/docs/machine-resource."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from portico.errors import InvalidArgument

_GIB = 1 << 30
_DEFAULT = "n1-standard-2"  # what Vertex AI takes where none is given
_TYPE = re.compile(
    r"(?P<family>[a-z]+\d+[a-z]*)-(?P<kind>standard|highmem|highcpu|megamem|ultramem)-(?P<cpus>\d+)"
)
_NAMED = re.compile(r"cloud-tpu|[a-z]+\d+[a-z]*-[a-z0-9]+(-[a-z0-9]+)*")
_CHIPS = re.compile(r"(?P<kind>[a-z]+\d+[a-z]*-[a-z]+)-(?P<chips>\d+)[gt]")
_PER_CHIP = {  # virtual CPUs and GiB that come with each accelerator
    "a2-highgpu": (12, 85.0),
    "a2-megagpu": (6, 85.0),
    "a2-ultragpu": (12, 170.0),
    "a3-edgegpu": (26, 234.0),
    "a3-highgpu": (26, 234.0),
    "a3-megagpu": (26, 234.0),
    "a3-ultragpu": (28, 369.0),
    "a4-highgpu": (28, 496.0),
    "ct4p-hightpu": (60, 101.75),
    "ct5lp-hightpu": (28, 48.0),
}
_PER_CPU = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0, "megamem": 14.9, "ultramem": 24.0}  # GiB
_PER_CPU_OF = {
    ("n1", "standard"): 3.75,
    ("n1", "highmem"): 6.5,
    ("n1", "highcpu"): 0.9,
    ("c3", "highcpu"): 2.0,
}
_SHARE = 0.75  # of this machine's memory that one replica may have at most
_LEAST = _GIB  # the libraries alone take half of it


def check(asked: Mapping[str, Any], field: str) -> None:
    """That what `asked` has of a machine can be one of Google's; `field` names it.

    Raises:
        InvalidArgument
    """
    spec = asked.get("machineSpec") or {}
    named = spec.get("machineType")
    accelerated = spec.get("acceleratorType") not in (None, "", "ACCELERATOR_TYPE_UNSPECIFIED")
    if accelerators(asked) < 0 or (accelerated and not accelerators(asked)):
        raise InvalidArgument(
            "acceleratorCount can't be negative, and with an acceleratorType it is above 0.",
            field=f"{field}.machineSpec.acceleratorCount",
        )
    if named and not _NAMED.fullmatch(named):
        raise InvalidArgument(
            f"There is no machine type {named!r}; one is called as n1-standard-4.",
            field=f"{field}.machineSpec.machineType",
        )


def memory(asked: dict[str, Any], whole: int = 0) -> int:
    """Bytes of memory for a replica of `dedicatedResources` or `automaticResources`: its machine type's, and no
    more than three quarters of what this machine has, or another of which `whole` is given."""
    most = (whole or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) * _SHARE
    return int(max(_LEAST, min(whole_memory(asked), most)))


def whole_memory(asked: dict[str, Any]) -> int:
    """Bytes of memory that the machine type has."""
    return int(_size(asked)[1] * _GIB)


def cores(asked: dict[str, Any]) -> int:
    """The machine type's virtual CPUs."""
    return _size(asked)[0]


def accelerators(asked: Mapping[str, Any]) -> int:
    return int((asked.get("machineSpec") or {}).get("acceleratorCount") or 0)


def _size(asked: dict[str, Any]) -> tuple[int, float]:
    """Virtual CPUs and GiB of memory of the machine type; of one that is not known here, those of the default."""
    named = (asked.get("machineSpec") or {}).get("machineType") or _DEFAULT
    if (chips := _CHIPS.fullmatch(named)) and (each := _PER_CHIP.get(chips["kind"])):
        return each[0] * int(chips["chips"]), each[1] * int(chips["chips"])
    match = _TYPE.fullmatch(named) or _TYPE.fullmatch(_DEFAULT)
    assert match is not None
    per_cpu = _PER_CPU_OF.get((match["family"], match["kind"]), _PER_CPU[match["kind"]])
    return int(match["cpus"]), per_cpu * int(match["cpus"])
