"""What the image of the model evaluation makes of a batch explanation: how much each feature counts, over all rows.

Its file is what ModelImportEvaluationOp reads: `explanation.attributions`, of all rows first, then of those whose
explained output has a name, each by that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from portico.errors import FailedPrecondition


def attributions(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The explanation of a whole, from rows with `explanation`, that of one (an object, or JSON text of one): for each
    feature the mean size of what it added, whatever its sign.

    Raises:
        FailedPrecondition: no row is explained.
    """
    found: dict[str, dict[str, list[float]]] = {"": {}}
    for row in rows:
        told = row.get("explanation")
        told = json.loads(told) if isinstance(told, str) else told
        first = next(iter((told or {}).get("attributions") or ()), None)
        if not isinstance(first, Mapping):
            continue
        for key in {"", str(first.get("outputDisplayName") or "")}:
            held = found.setdefault(key, {})
            for feature, value in (first.get("featureAttributions") or {}).items():
                held.setdefault(feature, []).append(_size(value))
    if not found[""]:
        raise FailedPrecondition(
            "No row has an explanation with attributions: let the batch prediction explain (generate_explanation)."
        )
    made = [
        {
            **({"dimension": "annotationSpec", "value": output} if output else {}),
            "featureAttributions": {name: sum(sizes) / len(sizes) for name, sizes in of_feature.items()},
        }
        for output, of_feature in found.items()
    ]
    return {"explanation": {"attributions": made}}


def _size(value: Any) -> float:
    """Of a feature that is a tensor, its elements' together."""
    if isinstance(value, list):
        return sum(map(_size, value))
    return abs(float(value or 0.0))
