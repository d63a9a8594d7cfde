"""Opens a model of TensorFlow's and runs rows through it: a program of its own, by a Python that has TensorFlow and
nothing of Portico. In its working folder are `model`, a folder or a file, and `feed.npz` where rows are to be run; it
leaves `told.json`, and `answer.npz`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

_BATCH = 1024  # rows that are run together


class _SavedModel:
    def __init__(self) -> None:
        self._kept = tf.saved_model.load("model")  # its variables go with it
        signatures = dict(self._kept.signatures)
        if not signatures:
            raise ValueError("the SavedModel has no signature")
        self._signature = signatures.get("serving_default") or signatures[min(signatures)]
        self.inputs = dict(self._signature.structured_input_signature[1])
        self.outputs = dict(self._signature.structured_outputs)

    def run(self, rows: dict[str, Any]) -> dict[str, Any]:
        found = self._signature(
            **{name: tf.constant(rows[name], spec.dtype) for name, spec in self.inputs.items()}
        )
        return {name: one.numpy() for name, one in found.items()}


class _Lite:
    def __init__(self) -> None:
        self._interpreter = tf.lite.Interpreter(model_path="model", num_threads=1)
        self._details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        signatures = self._interpreter.get_signature_list()
        self._runner = None
        if signatures:
            name = "serving_default" if "serving_default" in signatures else min(signatures)
            self._runner = self._interpreter.get_signature_runner(name)
            given, made = self._runner.get_input_details(), self._runner.get_output_details()
        else:
            given, made = ({one["name"]: one for one in each} for each in self._details)
        self.inputs = {name: _Detail(one) for name, one in given.items()}
        self.outputs = {name: _Detail(one) for name, one in made.items()}

    def run(self, rows: dict[str, Any]) -> dict[str, Any]:
        if self._runner is not None:
            found: dict[str, Any] = self._runner(**rows)
            return found
        for one in self._details[0]:
            self._interpreter.resize_tensor_input(one["index"], rows[one["name"]].shape)
        self._interpreter.allocate_tensors()
        for one in self._details[0]:
            self._interpreter.set_tensor(one["index"], rows[one["name"]])
        self._interpreter.invoke()
        return {one["name"]: self._interpreter.get_tensor(one["index"]) for one in self._details[1]}


class _Detail:
    def __init__(self, one: dict[str, Any]) -> None:
        self.dtype = tf.as_dtype(one["dtype"])
        shape = [int(size) for size in one["shape_signature"]] or [int(size) for size in one["shape"]]
        self.shape = tf.TensorShape([None, *(None if size < 0 else size for size in shape[1:])])


def _told(specs: dict[str, Any]) -> list[dict[str, Any]]:
    """Each tensor, with the shape of a row; of an unknown shape a row is an array."""
    found = []
    for name, spec in specs.items():
        shape = [None, None] if spec.shape.rank is None else spec.shape.as_list()
        found.append({"name": name, "type": spec.dtype.name, "shape": shape[1:]})
    return found


def _shaped(values: Any, spec: Any) -> Any:
    """Rows as the model has them, out of flat ones; texts as bytes."""
    shape = [-1 if size is None else size for size in (spec.shape.as_list() or [None])[1:]]
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8").astype(object)
    return values.reshape(len(values), *shape) if shape.count(-1) < 2 else values


def _kept(parts: list[Any]) -> Any:
    """All rows of an output; bytes as texts. What differs in length from batch to batch is filled up with zeros."""
    wide = [max(sizes) for sizes in zip(*(one.shape[1:] for one in parts), strict=True)]
    parts = [
        np.pad(one, [(0, 0), *((0, most - size) for most, size in zip(wide, one.shape[1:], strict=True))])
        if list(one.shape[1:]) != wide
        else one
        for one in parts
    ]
    whole = np.concatenate(parts)
    if whole.dtype != object:
        return whole
    texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in whole.ravel()]
    return np.array(texts, dtype="U").reshape(whole.shape)


def main(kind: str) -> dict[str, Any]:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = _Lite() if kind == "TENSORFLOW_LITE" else _SavedModel()
    if os.path.exists("feed.npz"):
        with np.load("feed.npz", allow_pickle=False) as feed:
            rows = {name: _shaped(feed[name], spec) for name, spec in model.inputs.items()}
        count = len(next(iter(rows.values())))
        found = [
            model.run({name: one[start : start + _BATCH] for name, one in rows.items()})
            for start in range(0, count, _BATCH)
        ]
        np.savez("answer.npz", **{name: _kept([one[name] for one in found]) for name in found[0]})
    return {"inputs": _told(model.inputs), "outputs": _told(model.outputs)}


if __name__ == "__main__":
    try:
        said = main(sys.argv[1])
    except Exception as error:
        said = {"error": " ".join(str(error).split())[:500] or type(error).__name__}
    with open("told.json", "w") as file:
        json.dump(said, file)
