"""The sections of a model card that its stewards fill: how the deployed model does now, and what they have noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Table = tuple[list[str], list[list[str]]]


def fairness(facts: dict[str, Any]) -> list[str | Table]:
    rows = []
    for one in _all(facts, "acceptable"):
        if one.get("attributes"):
            groups = f"{one.get('high', '')} over {one.get('low', '')}"
            rows.append([one["metric"], groups, _value(one), f"{one['limit']:.3g}", _yes(one["holds"])])
    if not rows:
        return [
            "No steward watches the fairness of this model: nothing is known about differences between groups."
        ]
    return [(["difference", "groups", "value (95% interval)", "acceptable", "holds"], rows)]


def performance(facts: dict[str, Any]) -> list[str | Table]:
    """What is acceptable beside what is, slices, and what acting on predictions does."""
    said: list[str | Table] = []
    rows = [
        [one["metric"], _value(one), f"{one['limit']:.4g}", str(one.get("rows", "")), _yes(one["holds"])]
        for one in _all(facts, "acceptable")
        if not one.get("attributes")
    ]
    if rows:
        said.append((["metric", "value (95% interval)", "acceptable", "rows", "holds"], rows))
    for one in _all(facts, "acceptable"):
        if "bestThreshold" in one:
            said.append(
                f"Errors cost {one['total']:.4g} in all over these rows. Decided from a score of "
                f"{one['bestThreshold']:.3f} on they would have cost {one['saving']:.4g} less a row."
            )
    slices = [
        [one["slice"], one.get("metric", ""), _value(one) if "value" in one else "too few rows",
         str(one["rows"]), "worse than the rest" if one.get("worse") else ""]
        for one in _all(facts, "slices")
    ]  # fmt: skip
    if slices:
        said.append((["slice", "metric", "value (95% interval)", "rows", ""], slices))
    for steward in facts["stewards"]:
        found = steward.get("status", {}).get("influence")
        if found:
            said.append(
                f"A random share of the predictions is not acted upon. The mean truth of what was acted upon differs "
                f"from it by {found['outcome']:+.4g} ({_between(found.get('outcomeInterval'))}), {found['metric']} by "
                f"{found['difference']:+.4g} ({_between(found.get('interval'))})."
            )
    return said or ["No steward watches how it does in service."]


def estimates(facts: dict[str, Any]) -> list[str | Table]:
    rows = [
        [one["metric"], str(one["scored"]), f"{one['meanAbsoluteError']:.4g}",
         f"{one['covered']:.0%}" if "covered" in one else ""]
        for one in _all(facts, "estimateRecords")
    ]  # fmt: skip
    said: list[str | Table] = [
        f"{one['metric']} is estimated at {_value(one)} over {one['rows']} predictions whose truth is not known yet; "
        f"{one['limit']:.4g} is acceptable. An estimate sees a change of the inputs, not one of the concept."
        for one in _all(facts, "estimates")
    ]
    if rows:
        said.append(
            (["metric", "estimates whose truth came", "mean absolute error", "in their interval"], rows)
        )
    return said or ["Nothing is estimated: labels come in time, or too few have come to learn from."]


def drift(facts: dict[str, Any]) -> list[str | Table]:
    said: list[str | Table] = [
        str(steward["status"]["drift"]["message"])
        for steward in facts["stewards"]
        if steward.get("status", {}).get("drift", {}).get("message")
    ]
    rows = [
        [
            f"{one['startTime'][:10]} to {one.get('endTime', 'now')[:10]}",
            ", ".join(one["features"]),
            one["message"],
        ]
        for one in _all(facts, "observations")
    ]
    if rows:
        said.append((["when", "features", "what was noted"], rows))
    return said or ["No drift of its inputs was looked for yet."]


def _all(facts: dict[str, Any], part: str) -> Iterator[dict[str, Any]]:
    for steward in facts["stewards"]:
        yield from steward.get("status", {}).get(part, [])


def _value(one: dict[str, Any]) -> str:
    bounds = one.get("interval")
    return f"{one['value']:.4g}" + (f" ({_between(bounds)})" if bounds else "")


def _between(bounds: Any) -> str:
    return f"{bounds[0]:.4g} to {bounds[1]:.4g}" if bounds else "no interval"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
