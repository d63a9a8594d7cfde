"""How far what computes stands back behind what serves."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# $PORTICO_NICE: jobs stand back no further than so (0 to 19). Beside other busy programs 19 is a standstill.
LAST = min(19, max(0, int(os.environ.get("PORTICO_NICE", "19"))))
PREPARING = min(10, LAST)  # what makes an environment: no prediction waits for it, and somebody waits for it


def be_nice(niceness: int = LAST) -> None:
    """Lets serving go first. In a session of its own, niceness alone is cancelled by the kernel's autogroups."""
    with contextlib.suppress(PermissionError):  # it has one
        os.setsid()
    os.nice(max(0, niceness - os.nice(0)))
    try:
        Path("/proc/self/autogroup").write_text(str(niceness))
    except OSError:
        pass
