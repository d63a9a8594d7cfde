"""Whether a LightGBM model file is sound: its C code trusts it, and reads beyond its arrays, or for ever, if not.

The format is that of LightGBM's src/boosting/gbdt_model_text.cpp and src/io/tree.cpp.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from portico.errors import FailedPrecondition

_CATEGORICAL: Final = 1  # bit of a node's decision_type
_MOST_CLASSES: Final = 100_000


def check_trees(text: bytes) -> None:
    """
    Raises:
        FailedPrecondition: `text` is no whole and sound model; the message says what is wrong.
    """
    if not text.startswith(b"tree\n"):
        raise _unsound("it does not begin with the line 'tree'")
    start = text.find(b"\nTree=")
    head = _pairs(text if start < 0 else text[:start])
    features = _integer(head, b"max_feature_idx") + 1
    classes, per_iteration = _integer(head, b"num_class"), _integer(head, b"num_tree_per_iteration")
    if not 1 <= classes <= _MOST_CLASSES or per_iteration not in (1, classes) or features < 1:
        raise _unsound("its number of classes or features can't be")
    if len(head.get(b"feature_names", b"").split(b" ")) != features:
        raise _unsound(f"it does not name its {features} features")
    end = text.find(b"\nend of trees")
    if b"tree_sizes" in head:
        sizes = _integers(head, b"tree_sizes")
        if end < 0:
            raise _unsound("it is cut: 'end of trees' is missing")
        at = start + 1
        for number, length in enumerate(sizes.tolist()):
            if length <= 0 or not text.startswith(b"Tree=%d\n" % number, at):
                raise _unsound(f"tree {number} is not where the file says")
            at += length
        trees = len(sizes)
    else:
        trees = -1
    blocks = [] if start < 0 else text[start + 1 : end if end >= 0 else None].split(b"\nTree=")
    if trees not in (-1, len(blocks)) or len(blocks) % per_iteration:
        raise _unsound(f"it has {len(blocks)} trees, and says otherwise")
    for number, block in enumerate(blocks):
        try:
            _check_tree(_pairs(block), features)
        except FailedPrecondition as error:
            raise _unsound(f"tree {number}: {error.message}") from None


def _check_tree(tree: dict[bytes, bytes], features: int) -> None:
    leaves = _integer(tree, b"num_leaves")
    if leaves < 1:
        raise FailedPrecondition("it has no leaf")
    _floats(tree, b"leaf_value", leaves)
    categories = _integer(tree, b"num_cat") if b"num_cat" in tree else 0
    if leaves > 1:
        nodes = leaves - 1
        split = _integers(tree, b"split_feature", nodes)
        if split.min() < 0 or split.max() >= features:
            raise FailedPrecondition("it splits a feature that the model does not have")
        # Every leaf, and every node but the root, has one parent: what is reached from the root is a tree.
        children = np.concatenate([_integers(tree, side, nodes) for side in (b"left_child", b"right_child")])
        if not np.array_equal(
            np.sort(children), np.concatenate([np.arange(-leaves, 0), np.arange(1, nodes)])
        ):
            raise FailedPrecondition("its nodes form no tree")
        thresholds = _floats(tree, b"threshold", nodes)
        kinds = _integers(tree, b"decision_type", nodes) if b"decision_type" in tree else np.zeros(nodes, int)
        chosen = thresholds[(kinds & _CATEGORICAL) > 0]
        if len(chosen) and not ((chosen >= 0) & (chosen < categories)).all():
            raise FailedPrecondition("a split by categories has none")
    if categories:
        bounds = _integers(tree, b"cat_boundaries", categories + 1)
        if bounds[0] != 0 or (np.diff(bounds) < 0).any():
            raise FailedPrecondition("its categories have no order")
        _integers(tree, b"cat_threshold", int(bounds[-1]))
    if tree.get(b"is_linear", b"0").strip() == b"1":
        counts = _integers(tree, b"num_features", leaves)
        _floats(tree, b"leaf_const", leaves)
        if (counts < 0).any():
            raise FailedPrecondition("a linear leaf has a negative number of features")
        used = _integers(tree, b"leaf_features", int(counts.sum()))
        _floats(tree, b"leaf_coeff", int(counts.sum()))
        if len(used) and (used.min() < 0 or used.max() >= features):
            raise FailedPrecondition("a linear leaf uses a feature that the model does not have")


def _pairs(block: bytes) -> dict[bytes, bytes]:
    pairs: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        key, equals, value = line.rstrip(b"\r").partition(b"=")
        if equals:
            pairs.setdefault(key, value)
    return pairs


def _integer(pairs: dict[bytes, bytes], key: bytes) -> int:
    return int(_integers(pairs, key, 1)[0])


def _integers(pairs: dict[bytes, bytes], key: bytes, count: int = -1) -> np.ndarray:
    return _numbers(pairs, key, count, np.int64)


def _floats(pairs: dict[bytes, bytes], key: bytes, count: int) -> np.ndarray:
    return _numbers(pairs, key, count, np.float64)


def _numbers(pairs: dict[bytes, bytes], key: bytes, count: int, kind: type) -> np.ndarray:
    name = key.decode()
    if key not in pairs:
        if count <= 0:
            return np.empty(0, kind)
        raise FailedPrecondition(f"{name} is missing")
    try:
        found: np.ndarray = np.array([kind(cell) for cell in pairs[key].split()], kind)
    except (ValueError, OverflowError):
        raise FailedPrecondition(f"{name} holds what is no number") from None
    if count >= 0 and len(found) != count:
        raise FailedPrecondition(f"{name} has {len(found)} values and should have {count}")
    return found


def _unsound(why: str) -> FailedPrecondition:
    return FailedPrecondition(f"The LightGBM model's file is damaged: {why}.")
