"""What a trial measures while it runs: the lines that cloudml-hypertune, or the code itself, writes into its metric
file.

Each is a JSON object: the metrics by their ids, and `global_step` and `timestamp` where it has them. The package keeps
the newest hundred in the file, so all that were ever there are remembered.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portico.sandbox.files import open_inside

_READ = 1 << 20  # bytes
_MOST = 10_000  # lines
_ROOM = 8 << 20  # characters of them
_LONGEST = 315_576_000_000.0  # seconds that a Duration has


class MetricFile:
    def __init__(self, path: Path, metrics: Sequence[str]) -> None:
        """`metrics` are the ids of those that count."""
        self._path, self._metrics = path, metrics
        self._lines: dict[str, None] = {}
        self._room = _ROOM
        with contextlib.suppress(OSError):
            if not path.parent.is_symlink():
                path.unlink()  # of an attempt that a crash ended

    def look(self, *, ended: bool = False) -> bool:
        """Whether there is more than before. Once the code has `ended`, the last line is whole."""
        descriptor = open_inside(self._path, self._path.parents[1])
        if descriptor is None:
            return False
        try:
            text = os.read(descriptor, _READ).decode(errors="replace")
        except OSError:
            return False
        finally:
            os.close(descriptor)
        before = len(self._lines)
        lines = text.split("\n")
        for line in lines if ended else lines[:-1]:
            if line and line not in self._lines and len(self._lines) < _MOST and len(line) <= self._room:
                self._lines[line] = None
                self._room -= len(line)
        return len(self._lines) > before

    def measurements(self, begun: float) -> list[dict[str, Any]]:
        """All measurements of a trial that began at that time; what was reported of one step in a row is one."""
        made: list[dict[str, Any]] = []
        for line in self._lines:
            try:
                told = json.loads(line)
                step, at = int(told.get("global_step") or 0), float(told.get("timestamp", begun))
                values = {name: float(told[name]) for name in self._metrics if name in told}
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                continue
            for name, value in values.items():
                if not (math.isfinite(value) and math.isfinite(at) and 0 <= step < 1 << 63):
                    continue
                last = made[-1] if made else None
                if last is None or last["stepCount"] != str(step) or _has(last, name):
                    last = {
                        "stepCount": str(step),
                        "elapsedDuration": f"{min(max(0.0, at - begun), _LONGEST):.6f}s",
                        "metrics": [],
                    }
                    made.append(last)
                last["metrics"].append({"metricId": name, "value": value})
        return made


def _has(measurement: dict[str, Any], name: str) -> bool:
    return any(one["metricId"] == name for one in measurement["metrics"])
