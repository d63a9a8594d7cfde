"""Whether a challenger replaces the champion: by all that was seen of it, and not by its last step alone.

The gates' labels, the shadow's and each canary step's are pooled, a label once. The gates' are the newest ones of a
champion that had just been found bad, which flatters whoever is beside it; so the labels after the gates must not speak
against the challenger, whatever the gates' say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from portico.ml.measure.baseline import number
from portico.ml.measure.performance import Compared
from portico.services.portico.steward.decision import Decision
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import compared

GATES: Final = "gates"
# So many times the last step's labels are waited for. They are judged at each multiple, not at each label that comes.
MOST: Final = 3
_STAGE = "stage"
_LEAST = 2  # rows that can be compared


def pooled(parts: Sequence[tuple[str, Rows]]) -> Rows:
    """The rows of several decisions on one challenger, in order of time; of a label the newest.

    `parts` are the stages' names and rows; `groups["stage"]` of the answer says whose a row is.
    """
    every = [(stage, rows) for stage, rows in parts if len(rows)]
    if not every:
        return Rows(np.zeros(0), np.zeros(0), {}, {_STAGE: []})
    sizes = np.cumsum([0, *[len(rows) for _, rows in every]])

    def numbers(name: str) -> Any:
        """Where none are known, all differ."""
        found = [getattr(rows, name) for _, rows in every]
        return np.concatenate(
            [np.arange(at, at + len(rows)) if known is None else known
             for at, known, (_, rows) in zip(sizes, found, every, strict=False)]
        )  # fmt: skip

    whole = Rows(
        np.concatenate([rows.times for _, rows in every]),
        np.concatenate([rows.truth for _, rows in every]),
        {who: np.concatenate([rows.outputs[who] for _, rows in every]) for who in ("champion", "challenger")},
        {_STAGE: [stage for stage, rows in every for _ in range(len(rows))]},
        every[-1][1].thresholds,
        numbers("labels"),
        numbers("instances"),
    )
    whole = whole.at(np.argsort(whole.times, kind="stable"))
    assert whole.labels is not None
    _, newest = np.unique(whole.labels[::-1], return_index=True)
    return whole.at(np.sort(len(whole) - 1 - newest))


def promotion(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Whether the challenger replaces the champion: "promote", "roll back", or "waits" for more labels.

    Rule: `metric`; `last`, the stage that was just passed, and its `labels`; `certain`, whether a gain that only the
    whole shows must be beyond chance; `tolerance`, how much worse the metric may be, as a share. Rows: as `pooled`.
    """
    stages = np.array(rows.groups[_STAGE], dtype=object)
    parts = {
        "all": rows,
        "sinceTheGates": rows.at(np.flatnonzero(stages != GATES)),
        "last": rows.at(np.flatnonzero(stages == rule["last"])),
    }
    found = {name: compared(rule, part, "challenger", "champion")
             for name, part in parts.items() if len(part) >= _LEAST}  # fmt: skip
    counts = {stage: int((stages == stage).sum()) for stage in dict.fromkeys(rows.groups[_STAGE])}
    numbers: dict[str, Any] = {name: one.to_json() for name, one in found.items()}
    numbers |= {"stages": counts, **rows.rest()}
    if "all" not in found:
        return Decision("promote", "No labels are asked for.", numbers)
    whole, fresh, last = (found.get(name, found["all"]) for name in ("all", "sinceTheGates", "last"))
    came = ", ".join(f"{stage} {count}" for stage, count in counts.items())
    words = f"On all {len(rows)} labels ({came}) {rule['metric']} of {_beside(whole)}."
    if len(found) > 1 and last.gain < 0:
        words += f" In the last step alone it is {_beside(last)}."
    tolerated = rule["tolerance"]
    if not _gain(whole, tolerated) > 0:
        return _more_or_back(rule, last, words, numbers)
    if _gain(fresh, tolerated) < 0:
        return _more_or_back(rule, last, f"{words} Since the gates {_beside(fresh)}.", numbers)
    if _gain(last, tolerated) >= 0:
        return Decision("promote", words, numbers)
    if _surely_worse(last, tolerated):
        return Decision("roll back", f"{words} That is beyond chance: the champion stays.", numbers)
    edge = whole.gain if not rule["certain"] else whole.interval[0] if whole.interval else -np.inf
    if edge + tolerated * abs(whole.second) > 0:
        chance = f"Chance alone can make {last.rows} labels say so, and can't make all {len(rows)} say the contrary."
        return Decision("promote", f"{words} {chance}", numbers)
    return _more_or_back(rule, last, f"{words} The whole does not outweigh it beyond chance.", numbers)


def _more_or_back(rule: Mapping[str, Any], last: Compared, words: str, numbers: dict[str, Any]) -> Decision:
    most = MOST * rule["labels"]
    if last.rows < most and not _surely_worse(last, rule["tolerance"]):
        return Decision("waits", f"{words} More labels are asked for, {most} at most.", numbers)
    return Decision("roll back", f"{words} The champion stays.", numbers)


def _gain(found: Compared, tolerated: float) -> float:
    return found.gain + tolerated * abs(found.second)


def _surely_worse(found: Compared, tolerated: float) -> bool:
    return found.interval is not None and found.interval[1] + tolerated * abs(found.second) < 0


def _beside(found: Compared) -> str:
    between = ""
    if found.interval is not None:
        between = f" (95% interval of the gain {number(found.interval[0])} to {number(found.interval[1])})"
    word = "better" if found.gain > 0 else "worse"
    return (
        f"the challenger is {number(found.first)}, the champion's {number(found.second)}: "
        f"{word} by {number(abs(found.gain))}{between}"
    )
