"""What a steward is asked to do, with the defaults of what its file leaves out."""

from __future__ import annotations

from typing import Any

import msgspec

from portico.clock import duration_seconds
from portico.errors import InvalidArgument

DAY = 86400.0
LATENCY = "p99Latency"  # in seconds; the only metric that needs no labels
ACTIONS = ("RESCALE", "RETRAIN", "ALERT")


class _Message(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    pass


class Data(_Message):
    dataset: str = ""
    target: str = ""
    time_column: str = ""


class Training(_Message):
    window: str = "EXPANDING"
    duration: str = ""
    budget_milli_node_hours: int = 0


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


class Notify(_Message):
    emails: list[str] = []
    webhooks: list[str] = []


class Spec(_Message):
    """Durations are proto3 JSON ("86400s"); 0 or "" of a bound is no bound."""

    endpoint: str
    data: Data = msgspec.field(default_factory=Data)
    training: Training = msgspec.field(default_factory=Training)
    acceptable: list[Acceptable] = []
    check_interval: str = "86400s"
    actions: list[str] = msgspec.field(default_factory=lambda: ["RETRAIN"])
    gates: Gates = msgspec.field(default_factory=Gates)
    rollout: Rollout = msgspec.field(default_factory=Rollout)
    limits: Limits = msgspec.field(default_factory=Limits)
    notify: Notify = msgspec.field(default_factory=Notify)

    @property
    def gate_metric(self) -> str:
        found = [a.metric for a in self.acceptable if a.metric != LATENCY and not a.attributes]
        return self.gates.metric or (found[0] if found else "")

    @property
    def grouped(self) -> list[str]:
        """The attributes by which anything here tells groups apart."""
        found = {item.grouped for item in self.acceptable} | {gate.grouped for gate in self.gates.fairness}
        return sorted(found - {""})


def spec_of(body: dict[str, Any]) -> Spec:
    """The spec in a steward's body, which the door has checked against the contract.

    Raises:
        InvalidArgument: naming the field.
    """
    try:
        return msgspec.convert(body, Spec, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{error}.") from None


def check(spec: Spec, prediction_type: str, classes: int) -> None:
    """
    Raises:
        InvalidArgument: naming the field and what to write instead.
    """
    from portico.ml import performance

    known = performance.metrics_of(prediction_type)
    if not spec.acceptable:
        _fail("acceptable", f"is empty: say what is acceptable, as {{metric: {known[0]}, limit: …}}")
    for position, item in enumerate(spec.acceptable):
        field = f"acceptable[{position}]"
        if _check_fairness(item, field, prediction_type, classes) and item.limit is None:
            _fail(f"{field}.limit", "is missing: the largest acceptable difference between groups")
        if not item.attributes and item.metric not in (*known, LATENCY):
            _fail(
                f"{field}.metric", f"is {item.metric!r}; for {prediction_type} it is {_or([*known, LATENCY])}"
            )
        if (item.limit is None) == (item.times_reference is None):
            _fail(f"{field}.limit", "must be given, or timesReference, and not both")
        if item.times_reference is not None and item.metric == LATENCY:
            _fail(f"{field}.timesReference", "has no meaning for a latency; give limit, in seconds")
        if item.times_reference is not None and item.times_reference <= 0:
            _fail(f"{field}.timesReference", f"is {item.times_reference:g}; it must be above 0")
        if item.labels < 20:
            _fail(f"{field}.labels", f"is {item.labels}; fewer than 20 say nothing")
    for position, gate in enumerate(spec.gates.fairness):
        _check_fairness(gate, f"gates.fairness[{position}]", prediction_type, classes)
        if not gate.attributes:
            _fail(f"gates.fairness[{position}].attributes", "is empty: which columns tell the groups apart")
        if gate.tolerance < 0:
            _fail(f"gates.fairness[{position}].tolerance", "is negative")
    if not spec.gate_metric and spec.actions != ["ALERT"]:
        _fail("gates.metric", f"is missing: what better is measured with, {_or(known)}")
    if spec.gates.metric and spec.gates.metric not in known:
        _fail("gates.metric", f"is {spec.gates.metric!r}; for {prediction_type} it is {_or(known)}")
    if spec.gates.labels < 20:
        _fail("gates.labels", f"is {spec.gates.labels}; fewer than 20 say nothing")
    if not 0 <= spec.gates.margin < 1:
        _fail("gates.margin", f"is {spec.gates.margin:g}; it must be a share from 0 to below 1")
    if not spec.actions or len(set(spec.actions)) < len(spec.actions):
        _fail("actions", f"must name one or more of {_or(ACTIONS)}, each once")
    if "ALERT" in spec.actions[:-1]:
        _fail("actions", "has ALERT before other actions; after it nothing is done")
    if "RESCALE" in spec.actions and prediction_type != "regression":
        _fail("actions", "has RESCALE, which is for regressions")
    if spec.training.window == "SLIDING" and not spec.training.duration:
        _fail("training.duration", "is missing: how long a sliding window is")
    if spec.training.budget_milli_node_hours < 0:
        _fail("training.budgetMilliNodeHours", "is negative")
    before = 0
    for position, step in enumerate(spec.rollout.canary):
        if not before < step.percent < 100:
            _fail(
                f"rollout.canary[{position}].percent",
                f"is {step.percent}; the steps must grow, above 0 and below 100",
            )
        if step.labels < 1:
            _fail(f"rollout.canary[{position}].labels", f"is {step.labels}; it must be 1 or more")
        before = step.percent
    if spec.rollout.shadow_labels < 0:
        _fail("rollout.shadowLabels", "is negative")
    if spec.rollout.rollback_ratio < 1:
        _fail(
            "rollout.rollbackRatio",
            f"is {spec.rollout.rollback_ratio:g}; below 1 equals would be rolled back",
        )
    for position, address in enumerate(spec.notify.emails):
        if "@" not in address or any(c.isspace() for c in address):
            _fail(f"notify.emails[{position}]", f"is {address!r}, which is no mail address")
    for position, url in enumerate(spec.notify.webhooks):
        if not url.startswith(("http://", "https://")):
            _fail(f"notify.webhooks[{position}]", f"is {url!r}; it must begin with http:// or https://")
    for field, text in (
        ("checkInterval", spec.check_interval),
        ("training.duration", spec.training.duration),
        ("gates.maxLatency", spec.gates.max_latency),
        ("rollout.patience", spec.rollout.patience),
        ("limits.coolDown", spec.limits.cool_down),
    ):
        if text and duration_seconds(text) < 0:
            _fail(field, f"is {text}; it must not be negative")
    if duration_seconds(spec.check_interval) <= 0:
        _fail("checkInterval", "must be above 0s")
    if spec.limits.retrainings_per_week < 0 or spec.limits.milli_node_hours_per_month < 0:
        _fail("limits", "has a negative number")


def _check_fairness(item: Acceptable | FairnessGate, field: str, prediction_type: str, classes: int) -> bool:
    """Whether the item bounds a difference between groups; then it is checked."""
    from portico.ml.fairness import GAPS

    if item.metric not in GAPS:
        if item.attributes or isinstance(item, FairnessGate):
            _fail(f"{field}.metric", f"is {item.metric!r}; of groups it is {_or(GAPS)}")
        return False
    if prediction_type != "classification" or classes != 2:
        _fail(f"{field}.metric", "is for classifiers with two classes, which the deployed model is not")
    if not item.attributes:
        _fail(f"{field}.attributes", "is missing: which columns tell the groups apart")
    if item.minimum_group < 10:
        _fail(f"{field}.minimumGroup", f"is {item.minimum_group}; fewer than 10 rows say nothing")
    return True


def _fail(field: str, words: str) -> None:
    raise InvalidArgument(f"{field} {words}.", field=field)


def _or(names: Any) -> str:
    *head, last = names
    return f"{', '.join(head)} or {last}" if head else str(last)
