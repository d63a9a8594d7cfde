"""How threads of OpenMP wait: the variables that it reads once, when a process loads it."""

from __future__ import annotations

import os
from typing import Final

# A thread that has nothing to do sleeps, since others want the cores; but not before it has looked as often as takes
# some twenty microseconds: in a boosted tree the next work comes sooner, and to wake it takes longer. Of LightGBM on
# 14,000 rows and 2 cores an iteration takes 1.3 ms so, and 7 where threads sleep at once.
ENVIRONMENT: Final = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "400"}


def be_patient() -> None:
    """For what this process loads from now on, and its children, unless the user has said another."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
