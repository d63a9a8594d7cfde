"""A steward's decisions: pure functions of a rule, some facts and the rows of evidence.

`decide` is called when a decision is made and when it is replayed; the same rule, facts and rows give the same
decision. Rows carry the outputs of "champion" and "challenger", and of simple answers as "baseline:NAME".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portico.ml.measure.baseline import number
from portico.ml.measure.cost import CostRule, best_threshold, costs_of
from portico.ml.measure.fairness import Gap, measure_fairness
from portico.services.portico.steward.decision import Decision, limit_of
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import (
    compared,
    higher_is_better,
    measured,
    ratio,
    threshold_of,
)
from portico.services.portico.steward.promotion import promotion
from portico.services.portico.steward.spec import COST, SERVICE
from portico.services.portico.steward.triggers import QUESTIONS


def decide(question: str, rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    return _QUESTIONS[question](rule, facts, rows)


def _breach(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Whether what is acceptable is broken: "breached", "holds", or "waits" for labels.

    Rule: an item of `acceptable`. Facts: `reference`, where the rule is relative to it; `service`, the numbers of
    the service. For a latency the truth is the seconds of the requests.
    """
    name = rule["metric"]
    if len(rows) < rule["labels"] and "service" not in facts:
        what = "requests" if name in SERVICE else "distinct labels"
        return Decision("waits", f"{len(rows)} of {rule['labels']} {what} are there.")
    limit = limit_of(rule, facts)
    more: dict[str, Any] = {}
    if rule.get("attributes"):
        gap = _gap(rule, rows, "champion")
        if gap is None:
            return Decision("waits", f"There are not two groups of {rule['minimumGroup']} rows to compare.")
        value, interval, high = gap.value, gap.interval, False
        bad = value > limit
        certainly = bad and interval is not None and interval[0] > limit
        more = gap.to_json()
    elif name in SERVICE:
        if "service" in facts:
            value = float(facts["service"][name])
        else:
            value = float(np.quantile(rows.truth, int(name[1:3]) / 100))
        interval, high = None, False
        bad = certainly = value > limit
    else:
        found = measured(rule, rows, "champion")
        value, interval = found.value, found.interval
        if name == COST:
            more = _of_cost(rule, rows)
        high = higher_is_better(name)
        bad = value < limit if high else value > limit
        edge = interval and (interval[1] if high else interval[0])
        certainly = bad and edge is not None and bool(edge < limit if high else edge > limit)
    numbers = {
        **more,
        "metric": name,
        "value": value,
        "interval": _list(interval),
        "limit": limit,
        "rows": len(rows),
    }
    numbers["reference"] = facts.get("reference")
    if "service" in facts:
        numbers["rows"] = facts["service"]["requests"]
    broken = certainly if rule.get("certain") else bad
    over = "requests"
    if name not in SERVICE:
        numbers |= rows.rest()
        over = f"labels{_of_instances(rows)}"
    words = f"{name} is {number(value)}{_between(interval)} over the newest {numbers['rows']} {over}"
    if "high" in more:
        words += f", between {more['high']} and {more['low']}"
    if broken:
        return Decision("breached", f"{words}, beyond the acceptable {number(limit)}.", numbers)
    if bad:
        return Decision("holds", f"{words}: beyond {number(limit)}, but not certainly.", numbers)
    return Decision("holds", f"{words}, within the acceptable {number(limit)}.", numbers)


def _gates(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Whether the challenger may go on: "passed" or "failed".

    Rule: `metric`, `margin`, `certain`, `baseline`, `maxLatencySeconds`, `maxBytes`, `mustReach` (the acceptable
    limit, for a cheap answer), `restores` (the difference between groups that must be acceptable again, where one
    opened the episode) and `tolerance` (how much worse the metric may be for it). Facts: `latencySeconds`, `bytes`,
    `signature` (what does not fit, in words), `trainedUntil` (the time of its newest training row), `cutShort` (how its
    training was cut short before it stopped to gain, in words).
    """
    gates: list[dict[str, Any]] = []

    def gate(name: str, passed: bool, words: str, **numbers: Any) -> None:
        gates.append({"gate": name, "passed": bool(passed), "reason": words, **numbers})

    metric = rule["metric"]
    first = float(rows.times[0]) if len(rows) else float("inf")
    trained = facts.get("trainedUntil")
    gate(
        "unseen rows",
        len(rows) >= rule["labels"] and (trained is None or trained < first),
        f"It is measured on the newest {len(rows)} labels{_of_instances(rows)}, which it never trained on.",
        rows=len(rows),
        trainedUntil=trained,
        measuredFrom=first,
    )
    signature = facts.get("signature") or ""
    gate("signature", not signature, signature or "It takes the same features and gives the same answers.")
    if gates[0]["passed"] and not signature:
        found = compared(rule, rows, "challenger", "champion")
        least = rule["margin"] * abs(found.second)
        by = f"{number(abs(found.gain))}{_between(found.interval)}"
        restores = rule.get("restores")
        if restores is not None:
            # What must be better is the difference between groups; the metric may suffer a little for it.
            least = -rule["tolerance"] * abs(found.second)
            enough = found.gain >= least
        else:
            enough = found.gain > least and (found.supported or not rule["certain"])
        gate(
            "better than the champion" if restores is None else "hardly worse than the champion",
            enough,
            f"{metric} is {number(found.first)}, the champion's {number(found.second)}: "
            f"{'better' if found.gain > 0 else 'worse'} by {by}"
            + (f", at least {number(least)} is asked for." if least > 0 else ".")
            + (f" {number(-least)} are tolerated." if least < 0 else ""),
            **found.to_json(),
        )
        baselines = {
            n.removeprefix("baseline:"): o for n, o in rows.outputs.items() if n.startswith("baseline:")
        }
        if rule.get("baseline") and baselines:
            simple = {n: measured(rule, rows, f"baseline:{n}").value for n in baselines}
            best = sorted(simple, key=lambda n: simple[n], reverse=higher_is_better(metric))[0]
            beside = compared(rule, rows, "challenger", f"baseline:{best}")
            gate(
                "better than a simple answer",
                beside.gain > 0,
                f"{metric} is {number(beside.first)}, that of '{best}' {number(beside.second)}.",
                baselines=simple,
                **beside.to_json(),
            )
        if rule.get("mustReach") is not None:
            limit = rule["mustReach"]
            good = found.first >= limit if higher_is_better(metric) else found.first <= limit
            gate(
                "acceptable again",
                good,
                f"{metric} is {number(found.first)}; {number(limit)} is acceptable.",
                limit=limit,
            )
        if restores is not None:
            now = _gap(restores, rows, "challenger")
            gate(
                "fair again",
                now is not None and now.value <= restores["limit"],
                f"{restores['metric']} by {restores['attributes']} is "
                + ("not known" if now is None else f"{number(now.value)}{_between(now.interval)}")
                + f"; {number(restores['limit'])} is acceptable.",
                challenger=None if now is None else now.to_json(),
            )
        for item in rule.get("fairness") or []:
            new, old = _gap(item, rows, "challenger"), _gap(item, rows, "champion")
            if new is None or old is None:
                gate(
                    "fairness", False, f"There are not two groups of {item['minimumGroup']} rows to compare."
                )
                continue
            most = max(old.value + item["tolerance"], item["limit"] if item["limit"] is not None else 0.0)
            gate(
                "fairness",
                new.value <= most,
                f"{item['metric']} by {item['attributes']} is {number(new.value)}{_between(new.interval)} between "
                f"{new.high} and {new.low}, the champion's {number(old.value)}; {number(most)} is allowed.",
                challenger=new.to_json(),
                champion=old.to_json(),
                most=most,
            )
    if rule.get("maxLatencySeconds"):
        took = facts["latencySeconds"]
        gate(
            "latency",
            took <= rule["maxLatencySeconds"],
            f"One row takes {took * 1000:.2f} ms (p99), at most {rule['maxLatencySeconds'] * 1000:g} ms are allowed.",
        )
    if rule.get("maxBytes"):
        gate(
            "size",
            facts["bytes"] <= rule["maxBytes"],
            f"Its files have {facts['bytes']:,} bytes, at most {rule['maxBytes']:,} are allowed.",
        )
    numbers = {"gates": gates, **rows.rest()}
    cut = facts.get("cutShort") or ""
    more = f" Of the challenger: {cut.rstrip('.')}." if cut else ""
    failed = [g for g in gates if not g["passed"]]
    if failed:
        words = " ".join(f"Gate '{g['gate']}' failed: {g['reason']}" for g in failed)
        return Decision("failed", f"{words}{more}", numbers)
    better = next(g for g in gates if g["gate"].endswith("than the champion"))
    return Decision("passed", f"Every gate passed. {better['reason']}{more}", numbers)


def _step(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Shadow and canary: "roll back", "go on", or "waits" for labels.

    Rule: `metric`, `labels`, `rollbackRatio`. It is rolled back as soon as a third of the labels show a loss beyond
    the ratio with certainty, and with all labels where the ratio itself is beyond.
    """
    metric, needed = rule["metric"], rule["labels"]
    if needed == 0:
        return Decision("go on", "No labels are asked for.")
    if len(rows) < max(needed // 3, 2):
        return Decision("waits", f"{len(rows)} of {needed} labelled answers are there.")
    found = compared(rule, rows, "challenger", "champion")
    numbers = {**found.to_json(), **rows.rest()}
    times = ratio(metric, found.first, found.second)
    numbers["ratio"] = times
    surely_worse = found.interval is not None and found.interval[1] < 0
    words = (
        f"{metric} of the challenger is {number(found.first)}, the champion's {number(found.second)}, on the same "
        f"{len(rows)} labels{_of_instances(rows)}."
    )
    if times > rule["rollbackRatio"] and (surely_worse or len(rows) >= needed):
        return Decision("roll back", f"{words} {times:.2f} times its loss is too much.", numbers)
    if len(rows) < needed:
        return Decision("waits", f"{words} {len(rows)} of {needed} labels are there.", numbers)
    return Decision("go on", words, numbers)


def _gap(rule: Mapping[str, Any], rows: Rows, who: str) -> Gap | None:
    """The difference between groups that a rule bounds; None where fewer than two groups can be judged."""
    found = measure_fairness(
        (rows.truth == 1).astype(float),
        rows.outputs[who][:, 1],
        rows.groups[rule["attributes"]],
        rows.times,
        threshold=threshold_of(rows, who),
        minimum=rule["minimumGroup"],
    )
    return found.gaps.get(rule["metric"])


def _of_cost(rule: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """What the window cost in all, and of two classes which threshold would have cost least."""
    costs, output = CostRule.from_json(rule["cost"]), rows.outputs["champion"]
    present = threshold_of(rows, "champion")
    made: dict[str, Any] = {"total": float(costs_of(rows.truth, output, costs, present).sum())}
    if output.ndim == 2 and output.shape[1] == 2:
        best = best_threshold(rows.truth, output[:, 1], costs, rows.times, present)
        made |= {"bestThreshold": best.threshold, "saving": best.saving}
    return made


def _of_instances(rows: Rows) -> str:
    """How few instances many labels are of."""
    known = rows.rest()
    if known["instances"] == known["labels"]:
        return ""
    return f" of {known['instances']} instance{'' if known['instances'] == 1 else 's'}"


def _between(interval: Any) -> str:
    return "" if interval is None else f" (95% interval {number(interval[0])} to {number(interval[1])})"


def _list(interval: Any) -> list[float] | None:
    return None if interval is None else list(interval)


_QUESTIONS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], Rows], Decision]] = {
    "breach": _breach,
    "gates": _gates,
    "shadow": _step,
    "canary": _step,
    "promotion": promotion,
    **QUESTIONS,
}
