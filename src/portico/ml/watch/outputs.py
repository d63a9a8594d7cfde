"""What a model answered, as columns that can be watched like features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from portico.ml.tables import rows_to_batch

MAIN: Final = ""  # the column of the value, or of the predicted class
_MOST_SCORES: Final = 20  # classes whose scores are watched, in the model's order


def outputs_table(answers: Sequence[Any]) -> tuple[pa.RecordBatch, dict[str, str]]:
    """Predictions (JSON values) as a batch, and its columns' kinds; an answer of no known shape is missing.

    The column `MAIN` holds a number, or the class: that of `{"classes", "scores"}` with the highest score, the place of
    the highest in a list, or a text. For classes with scores, ":CLASS" holds each one's.
    """
    rows = [_row(answer) for answer in answers]
    batch = rows_to_batch(rows)
    kinds = dict.fromkeys(batch.schema.names, "numeric")
    if any(isinstance(row.get(MAIN), str) for row in rows):
        kinds[MAIN] = "categorical"
    return batch, kinds


def display_name(column: str, features: Iterable[str]) -> str:
    """ "@prediction" and what the column is called; more of "@" in front where a feature's name begins like that."""
    prefix = "@prediction"
    while any(name.startswith(prefix) for name in features):
        prefix = f"@{prefix}"
    return f"{prefix}{column}"


def _row(answer: Any) -> dict[str, Any]:
    if isinstance(answer, dict):
        if "value" in answer:
            return _row(answer["value"])
        classes, scores = answer.get("classes"), answer.get("scores")
        if isinstance(classes, list) and isinstance(scores, list) and len(classes) == len(scores):
            return _scored([str(name) for name in classes], scores)
        return _scored([str(name) for name in answer], list(answer.values()))
    if isinstance(answer, list):
        return _scored([str(place) for place in range(len(answer))], answer)
    if isinstance(answer, bool):
        return {MAIN: str(answer).lower()}
    return {MAIN: answer} if isinstance(answer, int | float | str) else {}


def _scored(classes: list[str], scores: list[Any]) -> dict[str, Any]:
    if not scores or not all(isinstance(score, int | float) for score in scores):
        return {}
    best = max(range(len(scores)), key=scores.__getitem__)
    pairs = zip(classes[:_MOST_SCORES], scores[:_MOST_SCORES], strict=True)
    return {MAIN: classes[best], **{f":{name}": float(score) for name, score in pairs}}
