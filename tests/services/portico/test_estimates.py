"""Estimates in a steward's look: made before labels come, remembered, and held to the truth when it comes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from portico.services.portico.joining import Joined
from portico.services.portico.steward.decision import Decision
from portico.services.portico.steward.estimates import Estimating
from portico.services.portico.steward.evidence import nothing
from portico.services.portico.steward.performance import Finding
from portico.services.portico.steward.rows import rows_of
from portico.services.portico.steward.spec import spec_of
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import StewardPrivate
from portico.store.labels import Label

CHAMPION = {"id": "7", "model": "m", "modelVersionId": "1"}
SPEC = spec_of({"endpoint": "e", "acceptable": [{"metric": "accuracy", "limit": 0.8, "labels": 200}]})


class FakeModels:
    def classes(self, deployed: dict[str, Any]) -> list[str]:
        return ["no", "yes"]

    def threshold(self, deployed: dict[str, Any]) -> float:
        return 0.5


class Log(Watched):
    """A log of a calibrated classifier whose rows are as certain as a test says; nothing is on disk."""

    def __init__(self) -> None:
        self.joined = Joined()
        self._random = np.random.default_rng(6)
        self._count = 0
        self._truth: list[Label] = []

    def predict(self, count: int, low: float, high: float) -> None:
        rows = []
        for _ in range(count):
            self._count += 1
            sure = self._random.uniform(low, high)
            chance = sure if self._random.random() < 0.5 else 1 - sure
            truth = "yes" if self._random.random() < chance else "no"
            rows.append({
                "deployed_model_id": "7", "model": "m", "model_version": "1", "request_id": self._count,
                "logging_time": datetime.fromtimestamp(self._count * 60, UTC), "caller_request_id": "",
                "request_payload": ["{}"], "latency_seconds": 0.001,
                "response_payload": [orjson.dumps({"classes": ["no", "yes"], "scores": [1 - chance, chance]}).decode()],
            })  # fmt: skip
            self._truth.append(Label(f"id:0:{self._count}", truth, 0.0, 0.0))
        self.joined.add_predictions(pa.Table.from_pylist(rows))

    def label(self) -> None:
        self.joined.add_labels(self._truth)
        self._truth = []


def look(estimating: Estimating, log: Log, private: StewardPrivate) -> Any:
    rule = {"metric": "accuracy", "labels": 200, "certain": False, "limit": 0.8}
    finding = Finding("PERFORMANCE", "breach", rule, {}, nothing(), Decision("waits", ""))
    made = estimating.look(log, SPEC, private, CHAMPION, [finding])
    private.estimates = made.kept
    return made


def test_estimates_are_made_remembered_and_scored() -> None:
    log, estimating, private = Log(), Estimating(FakeModels()), StewardPrivate()  # type: ignore[arg-type]
    log.predict(2000, 0.5, 1.0)
    log.label()
    assert look(estimating, log, private).findings == [], "labels are there: nothing to estimate"
    log.predict(200, 0.5, 0.7)  # harder rows: an accuracy of about 0.6
    made = look(estimating, log, private)
    (found,) = made.findings
    assert found.broken and found.trigger == "ESTIMATE" and "before labels" in found.decision.reason
    (shown,) = made.shown
    assert not shown["holds"] and shown["startTime"] < shown["endTime"]
    assert len(look(estimating, log, private).kept) == 1, "the same window is remembered once"
    log.label()
    made = look(estimating, log, private)
    assert made.findings == []
    (kept,) = made.kept
    true = rows_of(log.newest("7", 200), ["no", "yes"])
    assert kept["realised"] == np.mean(np.argmax(true.outputs["champion"], axis=1) == true.truth)
    (record,) = made.records
    assert (
        record["scored"] == 1 and record["meanAbsoluteError"] == abs(kept["realised"] - kept["value"]) < 0.08
    )
    assert record["covered"] in (0.0, 1.0)


def test_no_estimate_without_enough_to_learn_from() -> None:
    log = Log()
    log.predict(150, 0.8, 0.95)
    log.label()
    log.predict(300, 0.8, 0.95)
    assert look(Estimating(FakeModels()), log, StewardPrivate()).findings == []  # type: ignore[arg-type]
