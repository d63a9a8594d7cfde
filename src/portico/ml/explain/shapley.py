"""Shapley values in the space of the answer: baseline + attributions == the score or value that was predicted.

The game (Lundberg & Lee 2017, interventional; Janzing et al. 2020): a coalition's worth is the mean prediction over
the model's background rows (training rows) with the coalition's features set to the instance's. It is played on
the output itself, probabilities or values, and not on margins, so the sum needs no rescaling and holds for any
member a model has. Up to `_EXACT` features every coalition is played and the values are exact; above that the
values are the mean over antithetic pairs of random feature orders (Castro et al. 2009; Mitchell et al. 2022), which
keeps the sum exact, and `approximationError` estimates the noise. With many features the walks go by the forest's
leaves (`leaves`), so that the time is linear in the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.explain.leaves import Leaves
from portico.ml.learn.model import Model

_EXACT = 7
_MANY = 50  # features from which on a walk by the forest's leaves is sooner than predicting each of its steps


def explain_instances(
    model: Model,
    instances: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any] | None = None,
    *,
    output_names: Sequence[str] = (),
    top_k: int = 0,
) -> list[dict[str, Any]]:
    """Google's `Explanation` JSON for each instance.

    For a classification the predicted class is explained, or those of `output_names` (class labels). `top_k` above 0
    keeps that many features with the largest attributions (their sum then is not whole).

    Raises:
        DataError: an instance that cannot be predicted, or a class that the model does not have.
    """
    matrix = model.encode_instances(instances)
    return explain_rows(model, matrix, output_names=output_names, top_k=top_k)


def explain_rows(
    model: Model, matrix: Floats, *, output_names: Sequence[str] = (), top_k: int = 0
) -> list[dict[str, Any]]:
    """The same for encoded rows (rows, width)."""
    outputs = model.output(matrix)
    asked = _positions(model, output_names)
    explanations = []
    for row, output in zip(matrix, outputs, strict=True):
        baseline, values, noise = shapley(model, row)
        wanted = asked if asked is not None else [int(output.argmax())]
        explanations.append(
            {
                "attributions": [
                    _attribution(model, index, baseline, output, values, noise, top_k) for index in wanted
                ]
            }
        )
    return explanations


def shapley(model: Model, row: Floats) -> tuple[Floats, Floats, Floats]:
    """The Shapley values of one encoded row (width,).

    Returns the baseline (outputs,), the values (features, outputs), and their standard errors (outputs,) as the
    mean over features; baseline + values.sum(0) is the row's output to rounding.
    """
    background = model.background
    count = len(model.features)
    if count <= _EXACT:
        masks, weights = _all_coalitions(count)
        worth = _worth(model, row, masks)
        return worth[0], np.einsum("fc,co->fo", weights, worth), np.zeros(worth.shape[1])
    generator = np.random.default_rng(0)
    orders = np.argsort(generator.random((len(background), count)), axis=1)
    if count >= _MANY:
        return _walked(model, model.leaves, row, orders)
    orders = np.concatenate([orders, orders[:, ::-1]])
    rows = np.concatenate([background, background])
    before = np.argsort(orders, axis=1)  # the place of each feature in its order
    masks = before[:, None, :] < np.arange(count + 1)[None, :, None]
    walked = model.output(_mix(model, row, rows, masks).reshape(-1, model.transform.width))
    walked = walked.reshape(len(orders), count + 1, -1)
    steps = np.diff(walked, axis=1)
    gains = np.take_along_axis(steps, before[:, :, None], axis=1)
    half = len(background)
    pairs = (gains[:half] + gains[half:]) / 2
    noise = pairs.std(axis=0, ddof=1).mean(axis=0) / np.sqrt(half) if half > 1 else np.zeros(pairs.shape[2])
    return walked[:half, 0].mean(axis=0), pairs.mean(axis=0), noise


def _walked(
    model: Model, leaves: Leaves, row: Floats, orders: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """As `shapley` for pairs of walks in `orders` (backgrounds, features) and back, a background at a time.

    The time grows with the number of leaves and of features, each by itself.
    """
    count, half = orders.shape[1], len(orders)
    owner = np.repeat(np.arange(count), [encoder.width for encoder in model.transform.encoders])
    end = leaves.goes_left(row)
    start = total = squares = np.zeros(())
    for background, order in zip(model.background, orders, strict=True):
        place = np.argsort(order)
        places = [place, count - 1 - place]
        margins = leaves.walks(leaves.goes_left(background), end, [each[owner] + 1 for each in places], count)
        answers = [model.answers(each) for each in margins]
        pair = sum(np.diff(each, axis=0)[at] for each, at in zip(answers, places, strict=True)) / 2
        start, total, squares = start + answers[0][0], total + pair, squares + pair**2
    mean = total / half
    spread = np.sqrt(np.maximum(squares - half * mean**2, 0) / max(half - 1, 1))
    noise = spread.mean(axis=0) / np.sqrt(half) if half > 1 else np.zeros(mean.shape[1])
    return start / half, mean, noise


def _mix(model: Model, row: Floats, background: Floats, masks: NDArray[np.bool_]) -> Floats:
    """(backgrounds, coalitions, width): the row's features where the mask (..., features) is true."""
    wide = np.repeat(masks, [encoder.width for encoder in model.transform.encoders], axis=-1)
    return np.asarray(np.where(wide, row, background[:, None, :]), np.float64)


def _worth(model: Model, row: Floats, masks: NDArray[np.bool_]) -> Floats:
    mixed = _mix(model, row, model.background, np.broadcast_to(masks, (len(model.background), *masks.shape)))
    made = model.output(mixed.reshape(-1, model.transform.width))
    return np.asarray(made.reshape(len(model.background), len(masks), -1).mean(axis=0), np.float64)


def _all_coalitions(count: int) -> tuple[NDArray[np.bool_], Floats]:
    """All coalitions (2^count, count), the empty one first, and Shapley's weight (count, 2^count) of their worth."""
    masks = np.array(
        [
            [f in chosen for f in range(count)]
            for size in range(count + 1)
            for chosen in combinations(range(count), size)
        ]
    )
    sizes = masks.sum(axis=1)
    joined = np.array([1.0 / (count * comb(count - 1, size - 1)) if size else 0.0 for size in sizes])
    left = np.array([1.0 / (count * comb(count - 1, size)) if size < count else 0.0 for size in sizes])
    return masks, np.where(masks.T, joined, -left)


def _positions(model: Model, output_names: Sequence[str]) -> list[int] | None:
    from portico.ml.errors import DataError

    if not model.labels:
        return [0]
    if not output_names:
        return None
    for name in output_names:
        if name not in model.labels:
            raise DataError(
                f"the model has no class {name!r}; it has {', '.join(model.labels[:20])}", field="outputNames"
            )
    return [model.labels.index(name) for name in output_names]


def _attribution(
    model: Model, index: int, baseline: Floats, output: Floats, values: Floats, noise: Floats, top_k: int
) -> dict[str, Any]:
    pairs = zip(model.features, values[:, index].tolist(), strict=True)
    features = dict(sorted(pairs, key=lambda pair: -abs(pair[1]))[:top_k] if top_k > 0 else pairs)
    made: dict[str, Any] = {
        "baselineOutputValue": float(baseline[index]),
        "instanceOutputValue": float(output[index]),
        "featureAttributions": features,
        "outputIndex": [index] if model.labels else [-1],
        "outputName": "scores" if model.labels else "value",
        "approximationError": float(noise[index]),
    }
    if model.labels:
        made["outputDisplayName"] = model.labels[index]
    return made
