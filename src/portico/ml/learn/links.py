"""From a forest's margins to the answer: probabilities, or the mixture of the spaces a regression learned in.

Every step works element by element, so a row's answer does not depend on its neighbours: online and in batch it
is the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portico.ml.arrays import Floats

# Name of the space -> (value to what is learned, margin to value). In `exp` the learner itself has a logarithmic
# link (Poisson deviance) and learns the value as it is.
SPACES: dict[str, tuple[Callable[[Floats], Floats], Callable[[Any], Any]]] = {
    "identity": (lambda value: value, lambda margin: margin),
    "log": (np.log1p, np.expm1),
    "sqrt": (np.sqrt, lambda margin: np.square(np.maximum(margin, 0.0))),
    "exp": (lambda value: value, np.exp),
}


@dataclass(slots=True)
class Link:
    """`kind` is sigmoid (one margin per row), softmax (one per class) or mixture.

    A mixture has one margin for each of `spaces`; the value is the sum of what they mean times `weights`. Margins of
    probabilities are recalibrated first, where there is a `shift` for each: `margin * scale + shift`.
    """

    kind: str
    spaces: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    scale: float = 1.0
    shift: list[float] = field(default_factory=list)

    def answer(self, margins: Floats) -> Floats:
        """Margins (rows, width) as probabilities (rows, classes) or values (rows,)."""
        if self.shift:
            margins = margins * self.scale + np.array(self.shift)
        if self.kind == "sigmoid":
            positive = 1.0 / (1.0 + np.exp(-margins[:, 0]))
            return np.stack([1.0 - positive, positive], axis=1)
        if self.kind == "softmax":
            powers = np.exp(margins - margins.max(axis=1, keepdims=True))
            total = powers[:, 0].copy()
            for column in range(1, powers.shape[1]):  # one order of summing, however many rows there are
                total += powers[:, column]
            return np.asarray(powers / total[:, None], np.float64)
        value = np.zeros(len(margins))
        for column, (space, weight) in enumerate(zip(self.spaces, self.weights, strict=True)):
            value += weight * SPACES[space][1](margins[:, column])
        return value

    def answer_row(self, margins: Sequence[float]) -> list[float]:
        """One row's margins (width) as its probabilities or [value]: bit for bit what `answer` makes, but sooner.

        NumPy's functions on single numbers run the same code as on arrays; the rest is plain IEEE arithmetic.
        """
        if self.shift:
            margins = [m * self.scale + shift for m, shift in zip(margins, self.shift, strict=True)]
        if self.kind == "sigmoid":
            positive = 1.0 / (1.0 + float(np.exp(-margins[0])))
            return [1.0 - positive, positive]
        if self.kind == "softmax":
            powers = np.exp(np.subtract(margins, max(margins))).tolist()
            total = 0.0
            for power in powers:
                total += power
            return [power / total for power in powers]
        value = 0.0
        for margin, space, weight in zip(margins, self.spaces, self.weights, strict=True):
            value += weight * (margin if space == "identity" else float(SPACES[space][1](margin)))
        return [value]


def recalibrated(link: Link, scale: float, shift: Sequence[float]) -> Link:
    """`link` with its margins times `scale` plus `shift` (a number a margin), after what it did to them before.

    Raises:
        ValueError: it is a mixture, which has no probabilities.
    """
    if link.kind == "mixture":
        raise ValueError("only probabilities can be recalibrated")
    before = link.shift or [0.0] * len(shift)
    after = [old * scale + new for old, new in zip(before, shift, strict=True)]
    return Link(link.kind, link.spaces, link.weights, link.scale * scale, after)


def spaces_for(target: Floats, objective: str) -> list[str]:
    """The spaces worth learning a regression in: others than the identity need values of at least 0.

    The square root and the logarithm tame a long right tail; `exp` keeps the mean where squared errors count.
    """
    if objective == "minimize-rmsle":
        return ["log"]
    if target.min() < 0 or target.max() <= 0:
        return ["identity"]
    spread = target.std() or 1.0
    skewness = float(np.mean(((target - target.mean()) / spread) ** 3))
    if skewness < 0.5:
        return ["identity"]
    return ["identity", "log", "sqrt", *(["exp"] if objective == "minimize-rmse" else [])]
