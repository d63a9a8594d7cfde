"""Whether a model may replace another, by the evaluations of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from portico.cli.ci.declaration import Gates
from portico.cli.ci.evaluation import LOWER_IS_BETTER, Evaluation
from portico.errors import InvalidArgument

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gate:
    """One bound, and whether it is kept to; `words` have the numbers either way."""

    name: str
    passed: bool
    words: str


def judge(gates: Gates, new: Evaluation, deployed: Evaluation | None) -> list[Gate]:
    """Every gate that is asked for.

    Raises:
        InvalidArgument: an evaluation lacks what a gate is about.
    """
    found = [*_bounds(gates, new), *_groups(gates, new)]
    if deployed is not None:
        found += _compared(gates, new, deployed)
    return found


def _bounds(gates: Gates, new: Evaluation) -> Iterator[Gate]:
    own = _of(new.metrics, gates.metric, "The evaluation")
    for name, bound in gates.least.items():
        low = _of(new.metrics, name, "The evaluation").low
        yield Gate(f"least {name}", low >= bound, f"it may be as low as {low:.4f}; {bound:g} is the least")
    for name, bound in gates.most.items():
        high = _of(new.metrics, name, "The evaluation").high
        yield Gate(f"most {name}", high <= bound, f"it may be as high as {high:.4f}; {bound:g} is the most")
    if gates.beats_baseline and gates.metric in new.baseline:
        simple = new.baseline[gates.metric]
        passed = own.high < simple if gates.metric in LOWER_IS_BETTER else own.low > simple
        words = f"{gates.metric} is {own}, the simple answer's {simple:.4f}"
        yield Gate("better than the simple answer", passed, words)
    if gates.most_milliseconds is not None:
        median = _median(new, "The evaluation")
        words = f"a row takes {median:.2f} ms (median); {gates.most_milliseconds:g} is the most"
        yield Gate("latency", median <= gates.most_milliseconds, words)


def _groups(gates: Gates, new: Evaluation) -> Iterator[Gate]:
    """What is asked of every slice, and between them."""
    if gates.weakest_slice is not None:
        lower = gates.metric in LOWER_IS_BETTER
        slices, bound = (
            _some(new.measures(gates.metric), "weakestSlice", "the evaluation has no slices"),
            gates.weakest_slice,
        )
        name = (max if lower else min)(slices, key=slices.__getitem__)
        value = slices[name]
        words = f"{gates.metric} where {name} is {value:.4f}; {bound:g} is the {'most' if lower else 'least'}"
        yield Gate("weakest slice", value <= bound if lower else value >= bound, words)
    if gates.most_unfair is not None:
        found = _some(new.differences(), "mostUnfair", "the evaluation has no fairness")
        name = max(found, key=found.__getitem__)
        words = f"{name} is {found[name]:.3f}; {gates.most_unfair:g} is the most"
        yield Gate("fairness", found[name] <= gates.most_unfair, words)


def _compared(gates: Gates, new: Evaluation, deployed: Evaluation) -> Iterator[Gate]:
    metric, sign = gates.metric, -1.0 if gates.metric in LOWER_IS_BETTER else 1.0
    own, before = new.metrics[metric], _of(deployed.metrics, metric, "The deployed model's evaluation")
    words = f"{metric} is {own}, the deployed model's {before}; {gates.worse:g} worse is allowed"
    yield Gate("as good as the deployed model", sign * (before.value - own.value) <= gates.worse, words)
    if gates.worse_slice is not None:
        ours, theirs = new.measures(metric), deployed.measures(metric)
        both = {name: sign * (theirs[name] - value) for name, value in ours.items() if name in theirs}
        both = _some(both, "worseSlice", "the two evaluations have no slice in common")
        name = max(both, key=both.__getitem__)
        words = f"{metric} where {name} is {ours[name]:.4f}, the deployed model's {theirs[name]:.4f}"
        yield Gate(
            "as good on each slice",
            both[name] <= gates.worse_slice,
            f"{words}; {gates.worse_slice:g} worse is allowed",
        )
    if gates.more_unfair is not None:
        ours, theirs = new.differences(), deployed.differences()
        both = {name: value - theirs[name] for name, value in ours.items() if name in theirs}
        both = _some(both, "moreUnfair", "the two evaluations have no fairness in common")
        name = max(both, key=both.__getitem__)
        words = f"{name} is {ours[name]:.3f}, the deployed model's {theirs[name]:.3f}"
        allowed = f"{gates.more_unfair:g} more is allowed"
        yield Gate("as fair as the deployed model", both[name] <= gates.more_unfair, f"{words}; {allowed}")
    if gates.slower is not None:
        median, there = _median(new, "The evaluation"), _median(deployed, "The deployed model's evaluation")
        words = f"a row takes {median:.2f} ms (median), the deployed model's {there:.2f}"
        allowed = f"{gates.slower:g} times that is allowed"
        yield Gate("as fast as the deployed model", median <= gates.slower * there, f"{words}; {allowed}")


def _median(evaluation: Evaluation, whose: str) -> float:
    return _of(evaluation.latency_milliseconds, "median", f"{whose}'s latencyMilliseconds")


def _of(some: Mapping[str, T], name: str, whose: str) -> T:
    if name not in some:
        raise InvalidArgument(f"{whose} has no {name}; it has {', '.join(some) or 'nothing'}.")
    return some[name]


def _some(found: dict[str, float], gate: str, problem: str) -> dict[str, float]:
    if not found:
        raise InvalidArgument(f"gates.{gate}: {problem}.")
    return found
