"""The cheap answers: what of the champion is adjusted, and by how much, from the newest labels before the gates'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portico.ml.errors import DataError
from portico.services.portico.joining import Outcome
from portico.services.portico.steward.rows import Models, rows_of
from portico.services.portico.steward.spec import cost_of

if TYPE_CHECKING:
    from portico.services.portico.steward.case import Case

_LEAST = 20  # rows


@dataclass(frozen=True, slots=True)
class Adjustment:
    """`changes` is the job's `adjustment`; `until` the time of the newest row that it was fitted on."""

    changes: dict[str, Any]
    until: float
    words: str


def adjustment(models: Models, case: Case, action: str, before: Sequence[Outcome]) -> Adjustment | str:
    """RESCALE, RECALIBRATE or MOVE_THRESHOLD, fitted on `before`; or why it can't be."""
    classes = models.classes(case.champion)
    rows = rows_of(before, classes, (), models.threshold(case.champion))
    if len(rows) < _LEAST:
        return f"{len(rows)} rows before the gates' are too few to {action.lower().replace('_', ' the ')} by."
    until, output = float(rows.times[-1]), rows.outputs["champion"]
    try:
        if action == "RESCALE":
            total = float(output.sum())
            if total <= 0 or rows.truth.sum() <= 0:
                return "Answers and truth must be above 0 on the whole to rescale by their ratio."
            factor = float(rows.truth.sum()) / total
            return Adjustment(
                {"factor": factor},
                until,
                f"Its answers times {factor:.3f}, the cheap answer, is tried first.",
            )
        if action == "RECALIBRATE":
            from portico.ml.measure.recalibrate import fit_recalibration

            fitted = fit_recalibration(rows.truth, output)
            shifts = ", ".join(f"{shift:+.3f}" for shift in fitted.shift)
            words = f"Its log-odds times {fitted.scale:.3f} and {shifts}, the cheap answer, is tried first."
            return Adjustment({"scale": fitted.scale, "shift": list(fitted.shift)}, until, words)
        from portico.ml.measure.cost import CostRule, best_threshold

        spec = case.spec
        rule = CostRule(((0.0, 1.0), (1.0, 0.0))) if spec.cost is None else cost_of(spec.cost, classes)
        found = best_threshold(rows.truth, output[:, 1], rule, rows.times, rows.thresholds["champion"])
        if found.threshold == found.present:
            return f"The threshold {found.present:.3f} is the best on {len(rows)} rows already."
        moved = f"The threshold {found.threshold:.3f} in place of {found.present:.3f}"
        words = f"{moved}, the cheap answer, is tried first."
        return Adjustment({"threshold": found.threshold}, until, words)
    except DataError as error:
        return f"{error.message}."
