"""How a service has a registered model asked that it must not open itself: by a job, in a process that may die.

The job is of the kind `ASK` (`services/aiplatform/batch/asking.py`). Its payload: `version` the name of a version's
row, `file` the path of the instances, one as JSON a line, and `probe`, whether single rows are timed. Its result has
`bytes`, what the model's files hold, and where it was to probe `latencySeconds` (p99 of single rows).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

from portico.jobs.worker import job_folder

ASK: Final = "models.ask"


def answers_path(home: Path, job_id: str) -> Path:
    return job_folder(home, job_id) / "answers.jsonl"


def answers(home: Path, job_id: str) -> list[dict[str, Any]]:
    """What a job of the kind `ASK` was answered, in the order of the instances: {"prediction"} or {"error"} each.

    Raises:
        OSError: it is gone.
    """
    return [orjson.loads(line) for line in answers_path(home, job_id).read_bytes().splitlines()]
