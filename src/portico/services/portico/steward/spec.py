"""What a steward is asked to do, with the defaults of what its file leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from portico.errors import InvalidArgument

if TYPE_CHECKING:
    from portico.ml.measure.cost import CostRule

DAY = 86400.0
SERVICE = ("p50Latency", "p95Latency", "p99Latency", "errorRate", "saturation")  # they need no labels
COST = "cost"
ACTIONS = ("RESCALE", "RECALIBRATE", "MOVE_THRESHOLD", "RETRAIN", "ALERT")


class _Message(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    pass


class Data(_Message):
    dataset: str = ""
    source: list[str] = []
    target: str = ""
    time_column: str = ""


class Pipeline(_Message):
    """What else it says is read as the PipelineJob that it becomes."""

    timeout: str = "86400s"


class Training(_Message):
    window: str = "EXPANDING"
    duration: str = ""
    budget_milli_node_hours: int = 0
    prediction_type: str = ""
    objective: str = ""
    transformations: dict[str, str] = {}
    pipeline: Pipeline | None = None


class Model(_Message):
    prediction_type: str = ""
    classes: list[str] = []


class ErrorCost(_Message):
    truth: str
    predicted: str
    cost: float = 0.0


class Cost(_Message):
    errors: list[ErrorCost] = []
    over: float = 0.0
    under: float = 0.0


class Triggers(_Message):
    estimate: bool = False
    drift: bool = False
    schedule: str = ""


class DriftWatch(_Message):
    rows: int = 500
    features: list[str] = []
    threshold: float = 0.0


class Influence(_Message):
    holdout: float = 0.0


class Acceptable(_Message):
    metric: str
    limit: float | None = None
    times_reference: float | None = None
    labels: int = 500
    certain: bool = False
    attributes: list[str] = []
    minimum_group: int = 50

    @property
    def grouped(self) -> str:
        return ",".join(self.attributes)


class FairnessGate(_Message):
    metric: str
    attributes: list[str]
    limit: float | None = None
    tolerance: float = 0.02
    minimum_group: int = 50

    @property
    def grouped(self) -> str:
        return ",".join(self.attributes)


class Gates(_Message):
    metric: str = ""
    labels: int = 300
    margin: float = 0.0
    certain: bool = True
    baseline: bool = True
    max_latency: str = ""
    max_bytes: int = 0
    approval: bool = False
    tolerance: float = 0.02
    fairness: list[FairnessGate] = []


class CanaryStep(_Message):
    percent: int
    labels: int = 100


class Rollout(_Message):
    shadow_labels: int = 100
    canary: list[CanaryStep] = msgspec.field(
        default_factory=lambda: [CanaryStep(percent=10), CanaryStep(percent=50)]
    )
    rollback_ratio: float = 1.2
    patience: str = "2592000s"


class Limits(_Message):
    cool_down: str = "604800s"
    retrainings_per_week: int = 2
    milli_node_hours_per_month: int = 0
    node_hour_price: float = 0.0
    cost_per_month: float = 0.0


class Notify(_Message):
    emails: list[str] = []
    webhooks: list[str] = []


class Spec(_Message):
    """Durations are proto3 JSON ("86400s"); 0 or "" of a bound is no bound."""

    endpoint: str
    data: Data = msgspec.field(default_factory=Data)
    training: Training = msgspec.field(default_factory=Training)
    model: Model = msgspec.field(default_factory=Model)
    acceptable: list[Acceptable] = []
    check_interval: str = "86400s"
    actions: list[str] = msgspec.field(default_factory=lambda: ["RETRAIN"])
    gates: Gates = msgspec.field(default_factory=Gates)
    rollout: Rollout = msgspec.field(default_factory=Rollout)
    limits: Limits = msgspec.field(default_factory=Limits)
    notify: Notify = msgspec.field(default_factory=Notify)
    cost: Cost | None = None
    triggers: Triggers = msgspec.field(default_factory=Triggers)
    drift: DriftWatch = msgspec.field(default_factory=DriftWatch)
    influence: Influence = msgspec.field(default_factory=Influence)
    slices: list[str] = []

    @property
    def gate_metric(self) -> str:
        found = [a.metric for a in self.acceptable if a.metric not in SERVICE and not a.attributes]
        return self.gates.metric or (found[0] if found else "")

    def measured_by(self, metric: str, classes: Sequence[str]) -> dict[str, Any]:
        """What a decision's rule says of its metric: of a cost, what errors cost."""
        if metric != COST:
            return {"metric": metric}
        return {"metric": metric, "cost": cost_of(self.cost or Cost(), classes).to_json()}

    @property
    def grouped(self) -> list[str]:
        """The attributes by which anything here tells groups apart."""
        found = {item.grouped for item in self.acceptable} | {gate.grouped for gate in self.gates.fairness}
        return sorted(found - {""})


def cost_of(cost: Cost, classes: Sequence[str]) -> CostRule:
    """
    Raises:
        DataError: it does not fit the classes (none: a regression).
    """
    from portico.ml.measure.cost import error_rule, matrix_rule

    if not classes:
        return error_rule(cost.over, cost.under)
    table: dict[str, dict[str, float]] = {}
    for one in cost.errors:
        table.setdefault(one.truth, {})[one.predicted] = one.cost
    return matrix_rule(table, classes)


def spec_of(body: dict[str, Any]) -> Spec:
    """The spec in a steward's body, which the door has checked against the contract.

    Raises:
        InvalidArgument: naming the field.
    """
    try:
        return msgspec.convert(body, Spec, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{error}.") from None
