"""Encoders that learn from the target, fitted so that no training row sees its own target.

Their columns for the training rows are out of fold: each row is encoded by an encoder fitted on the other folds
(as cross-fitting in target encoding, and in stacking). New rows get the encoder fitted on all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from portico.ml import arrays, values
from portico.ml.arrays import Column, Floats
from portico.ml.learn.encoders import Encoder, TargetEncoder, TextEncoder, encode_column

_FOLDS = 5
_STRENGTH = 10.0
_WORDS = 4000
_MAX_STATISTICS = 8


def statistics(target: Floats, classes: int) -> Floats:
    """What encoders average: (rows, 1) of the value or of P(second class), or indicators of the first 8 classes."""
    if classes <= 2:
        return target[:, None].astype(np.float64)
    return np.asarray(target[:, None] == np.arange(min(classes, _MAX_STATISTICS)), np.float64)


def fit_out_of_fold(
    fit: Callable[[Column, Floats], Encoder], column: Column, goals: Floats, seed: int
) -> tuple[Encoder, Floats]:
    """The encoder of all rows, and the (rows, width) encoding of each row by the other folds' encoder."""
    fold = np.random.default_rng(seed).permutation(len(goals)) % _FOLDS
    encoder = fit(column, goals)
    rows = np.empty((len(goals), encoder.width))
    for number in range(_FOLDS):
        inside = fold == number
        other = fit(column.filter(pa.array(~inside)), goals[~inside])
        rows[inside] = encode_column(other, column.filter(pa.array(inside)))[0]
    return encoder, rows


def fit_target_encoder(name: str, column: Column, goals: Floats) -> TargetEncoder:
    codes, cells = arrays.factorize(column)
    labels: dict[str | None, int] = {None: 0}
    relabel = np.zeros(len(cells), np.int64)
    for position, cell in enumerate(cells):
        try:
            relabel[position] = labels.setdefault(values.category(cell), len(labels))
        except ValueError:
            pass
    rows = relabel[codes]
    counts = np.bincount(rows, minlength=len(labels)).astype(np.float64)
    sums = np.stack([np.bincount(rows, goal, minlength=len(labels)) for goal in goals.T], axis=1)
    prior = goals.mean(axis=0)
    means = (sums + _STRENGTH * prior) / (counts[:, None] + _STRENGTH)
    table = np.column_stack([means, np.log1p(counts)])
    known = {label: table[row].tolist() for label, row in labels.items() if label is not None}
    return TargetEncoder(name, known, [*prior.tolist(), 0.0], table[0].tolist())


def fit_text_encoder(name: str, column: Column, goals: Floats) -> TextEncoder:
    """Ridge regression of the goals on tf-idf vectors of the most frequent words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    codes, cells = arrays.factorize(column)
    texts = []
    for cell in cells:
        try:
            texts.append(values.text(cell) or "")
        except ValueError:
            texts.append("")
    vectorizer = TfidfVectorizer(
        analyzer=values.words,
        max_features=_WORDS,
        min_df=min(2, len(texts)),
        sublinear_tf=True,
        dtype=np.float64,
    )
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no word at all
        return TextEncoder(name, {}, goals.mean(axis=0).tolist())
    ridge = Ridge(alpha=1.0, solver="lsqr").fit(matrix[codes], goals)
    coefficients = np.atleast_2d(ridge.coef_)
    weights = {
        str(word): [float(vectorizer.idf_[position]), *coefficients[:, position].tolist()]
        for word, position in vectorizer.vocabulary_.items()
    }
    return TextEncoder(name, weights, np.atleast_1d(ridge.intercept_).tolist())
