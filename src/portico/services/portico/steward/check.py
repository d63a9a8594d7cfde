"""Whether a steward's spec makes sense for the model that is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portico.clock import duration_seconds
from portico.errors import InvalidArgument
from portico.services.portico.steward.spec import (
    ACTIONS,
    COST,
    SERVICE,
    Acceptable,
    FairnessGate,
    Spec,
    cost_of,
)


def told(spec: Spec, deployed_id: str) -> tuple[str, list[str]]:
    """What a deployed model predicts that does not say so itself, and its classes: the spec says it.

    Raises:
        InvalidArgument: it does not, or asks for more than such a model can be given.
    """
    kind, classes = spec.model.prediction_type.lower(), spec.model.classes
    if kind not in ("classification", "regression"):
        _fail(
            "model.predictionType",
            f"is {spec.model.prediction_type!r}; the deployed model {deployed_id} was not trained by Portico and does "
            "not say what it predicts: CLASSIFICATION or REGRESSION",
        )
    if len(set(classes)) < len(classes) or (len(classes) < 2 if kind == "classification" else classes):
        _fail(
            "model.classes",
            "must name the classes, in the order of the model's scores, and of a regression none",
        )
    by_pipeline = spec.training.pipeline is not None and "RETRAIN" in spec.actions
    if not by_pipeline and spec.actions != ["ALERT"]:
        _fail(
            "actions",
            f"is {', '.join(spec.actions)}; a model that Portico did not train can only be watched: write ALERT, or "
            "give training.pipeline, which trains another one, and write RETRAIN",
        )
    return kind, classes


def check(spec: Spec, prediction_type: str, classes: Sequence[str]) -> None:
    """
    Raises:
        InvalidArgument: naming the field and what to write instead.
    """
    from portico.ml.measure import performance

    known = [*performance.metrics_of(prediction_type), COST]
    _check_cost(spec, classes)
    if not spec.acceptable:
        _fail("acceptable", f"is empty: say what is acceptable, as {{metric: {known[0]}, limit: …}}")
    for position, item in enumerate(spec.acceptable):
        field = f"acceptable[{position}]"
        if _check_fairness(item, field, prediction_type, classes) and item.limit is None:
            _fail(f"{field}.limit", "is missing: the largest acceptable difference between groups")
        if not item.attributes and item.metric not in (*known, *SERVICE):
            allowed = _or([*known, *SERVICE])
            _fail(f"{field}.metric", f"is {item.metric!r}; for {prediction_type} it is {allowed}")
        if item.metric == COST and spec.cost is None:
            _fail(f"{field}.metric", "is cost, but the steward has no cost: say what errors cost")
        if (item.limit is None) == (item.times_reference is None):
            _fail(f"{field}.limit", "must be given, or timesReference, and not both")
        if item.times_reference is not None and item.metric in SERVICE:
            _fail(f"{field}.timesReference", f"has no meaning for {item.metric}; give limit")
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
    if spec.gate_metric == COST and spec.cost is None:
        _fail("gates.metric", "is cost, but the steward has no cost: say what errors cost")
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
    if "RECALIBRATE" in spec.actions and prediction_type != "classification":
        _fail("actions", "has RECALIBRATE, which is for classifications; a regression has RESCALE")
    if "MOVE_THRESHOLD" in spec.actions:
        if len(classes) != 2:
            _fail("actions", "has MOVE_THRESHOLD, which is for two classes")
        if spec.cost is None and spec.gate_metric != "accuracy":
            _fail(
                "actions",
                "has MOVE_THRESHOLD: give cost, or measure by accuracy, to say which threshold is best",
            )
    if spec.training.window == "SLIDING" and not spec.training.duration:
        _fail("training.duration", "is missing: how long a sliding window is")
    if spec.training.prediction_type and spec.training.prediction_type.lower() != prediction_type:
        _fail(
            "training.predictionType",
            f"is {spec.training.prediction_type}; the deployed model is a {prediction_type}",
        )
    if spec.training.objective:
        _check_objective(spec.training.objective, prediction_type)
    if spec.training.pipeline is not None and duration_seconds(spec.training.pipeline.timeout) <= 0:
        _fail("training.pipeline.timeout", "must be above 0s")
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
        ("triggers.schedule", spec.triggers.schedule),
    ):
        if text and duration_seconds(text) < 0:
            _fail(field, f"is {text}; it must not be negative")
    if duration_seconds(spec.check_interval) <= 0:
        _fail("checkInterval", "must be above 0s")
    if spec.limits.retrainings_per_week < 0 or spec.limits.milli_node_hours_per_month < 0:
        _fail("limits", "has a negative number")
    if spec.limits.node_hour_price < 0 or spec.limits.cost_per_month < 0:
        _fail("limits", "has a negative number")
    if spec.drift.rows < 100:
        _fail("drift.rows", f"is {spec.drift.rows}; windows of fewer than 100 say nothing")
    if not 0 <= spec.drift.threshold <= 1:
        _fail("drift.threshold", f"is {spec.drift.threshold:g}; it must be from 0 to 1")
    if not 0 <= spec.influence.holdout <= 0.5:
        _fail("influence.holdout", f"is {spec.influence.holdout:g}; it must be from 0 to 0.5")


def _check_objective(objective: str, prediction_type: Any) -> None:
    from portico.ml.errors import DataError
    from portico.ml.learn.spec import TrainSpec

    try:
        TrainSpec(prediction_type, "target", optimization_objective=objective).check()
    except DataError as error:
        _fail("training.objective", f"does not fit: {error.message}")


def _check_cost(spec: Spec, classes: Sequence[str]) -> None:
    from portico.ml.errors import DataError

    if spec.cost is None:
        return
    try:
        cost_of(spec.cost, classes)
    except DataError as error:
        raise InvalidArgument(f"cost: {error.message}.", field="cost") from None


def _check_fairness(
    item: Acceptable | FairnessGate, field: str, prediction_type: str, classes: Sequence[str]
) -> bool:
    """Whether the item bounds a difference between groups; then it is checked."""
    from portico.ml.measure.fairness import GAPS

    if item.metric not in GAPS:
        if item.attributes or isinstance(item, FairnessGate):
            _fail(f"{field}.metric", f"is {item.metric!r}; of groups it is {_or(GAPS)}")
        return False
    if prediction_type != "classification" or len(classes) != 2:
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
