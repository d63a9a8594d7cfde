"""A PyTorch model in a replica: the archive's handler, run by TorchServe's own Python; imported by `worker.py` alone.

Requests come as Google's image has TorchServe take them, in its "json" envelope: each of the instances is a row of what
the handler gets, bytes sent as `{"b64": ...}` as bytes.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from typing import Any

import torch
from ts.context import RequestProcessor
from ts.metrics.metrics_store import MetricsStore
from ts.model_loader import TsModelLoader

_ARCHIVE = ".portico-archive"
_ID = "0"  # of every request: one is answered after the other


class BadInstance(Exception):
    """Instances that the handler gives no answer for."""


class _Metrics(MetricsStore):  # type: ignore[misc]
    """Forgets what it has measured when the next request comes."""

    def set_request_ids(self, ids: Any) -> None:
        self.__init__(ids, self.model_name)  # type: ignore[misc]


class Archive:
    """Has what `worker.Model` has."""

    names = None
    width = None
    classes = None

    def __init__(self, path: str) -> None:
        torch.set_num_threads(1)
        folder = os.path.join(os.path.dirname(path), _ARCHIVE)
        sys.path.insert(0, folder)
        os.chdir(folder)
        with open(os.path.join("MAR-INF", "MANIFEST.json")) as file:
            told = json.load(file)["model"]
        name = told.get("modelName") or "model"
        service = TsModelLoader().load(
            name, folder, told["handler"], None, 1, "json", True, _Metrics({0: _ID}, name)
        )
        self.context = service.context
        self.handle = service._entry_point

    def rows(self, instances: Any) -> list[Any]:
        if not isinstance(instances, list) or not instances:
            raise BadInstance("instances must be a list with at least one instance")
        return instances

    def predict(self, rows: list[Any]) -> list[Any]:
        self.context.request_ids = {0: _ID}
        self.context.request_processor = [RequestProcessor({"content-type": "application/json"})]
        self.context.metrics.set_request_ids({0: _ID})
        told = self.handle([{"body": {"instances": copy.deepcopy(rows)}}], self.context)
        if not told:
            raise BadInstance("the handler gives no answer")
        answers = json.loads(told[0])["predictions"]
        if len(answers) != len(rows):
            raise BadInstance(f"the handler gives {len(answers)} answers for {len(rows)} instances")
        return list(answers)

    def scores(self, rows: list[Any]) -> Any:
        return self.predict(rows)

    def signed(self, name: Any) -> Archive:
        return self

    def explained(self, rows: list[Any], asked: Any) -> dict[str, Any]:
        return {}

    def blame(self, rows: list[Any], error: Exception) -> str:
        text = " ".join(str(getattr(error, "message", error)).split())[:500] or type(error).__name__
        return (
            text if isinstance(error, BadInstance) else f"The handler raised {type(error).__name__}: {text}"
        )
