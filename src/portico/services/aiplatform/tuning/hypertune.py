"""What a trial measures while it runs: the lines that cloudml-hypertune writes into its metric file.

The package keeps the newest hundred in it, so all that were ever there are remembered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_READ = 1 << 20  # bytes
_MOST = 10_000  # lines


class MetricFile:
    def __init__(self, path: Path, metrics: Sequence[str]) -> None:
        """`metrics` are the ids of those that count."""
        self._path, self._metrics = path, metrics
        self._lines: dict[str, None] = {}
        path.unlink(missing_ok=True)  # of an attempt that a crash ended

    def look(self) -> bool:
        """Whether there is more than before."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_READ).decode(errors="replace")
        except OSError:
            return False
        before = len(self._lines)
        for line in text.split("\n")[:-1]:  # the last is not whole, or empty
            if len(self._lines) < _MOST:
                self._lines.setdefault(line)
        return len(self._lines) > before

    def measurements(self, begun: float) -> list[dict[str, Any]]:
        """All measurements of a trial that began at that time; what was reported of one step in a row is one."""
        made: list[dict[str, Any]] = []
        for line in self._lines:
            try:
                told = json.loads(line)
                step, at = int(told.get("global_step") or 0), float(told["timestamp"])
                values = {name: float(told[name]) for name in self._metrics if name in told}
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            for name, value in values.items():
                if not math.isfinite(value) or step < 0:
                    continue
                last = made[-1] if made else None
                if last is None or last["stepCount"] != str(step) or _has(last, name):
                    last = {
                        "stepCount": str(step),
                        "elapsedDuration": f"{max(0.0, at - begun):.6f}s",
                        "metrics": [],
                    }
                    made.append(last)
                last["metrics"].append({"metricId": name, "value": value})
        return made


def _has(measurement: dict[str, Any], name: str) -> bool:
    return any(one["metricId"] == name for one in measurement["metrics"])
