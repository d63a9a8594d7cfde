"""What a machine type has of cores and memory."""

from __future__ import annotations

import pytest

from portico.services.aiplatform import machine_types

# https://cloud.google.com/compute/docs/accelerator-optimized-machines and …/general-purpose-machines
KNOWN = [
    ("n1-standard-4", 4, 15),
    ("g2-standard-8", 8, 32),
    ("m1-ultramem-40", 40, 961),
    ("a2-highgpu-1g", 12, 85),
    ("a2-megagpu-16g", 96, 1360),
    ("a3-highgpu-8g", 208, 1872),
    ("ct5lp-hightpu-4t", 112, 192),
]


@pytest.mark.parametrize(("name", "cores", "memory"), KNOWN)
def test_a_machine_type_has_what_googles_has(name: str, cores: int, memory: float) -> None:
    asked = {"machineSpec": {"machineType": name}}
    assert machine_types.cores(asked) == cores
    assert machine_types.whole_memory(asked) / 2**30 == pytest.approx(memory, rel=0.01)
