"""A TensorFlow SavedModel in a replica, answered as TensorFlow Serving does; imported by `worker.py` alone.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api (row format)
"""

from __future__ import annotations

import base64
import copy
import os
from typing import Any

import tensorflow as tf

_SIGNATURE = "serving_default"


class BadInstance(Exception):
    """An instance that the signature does not take."""


class SavedModel:
    """Has what `worker.Model` has. `classes` stay unknown: what the numbers mean only the model's maker knows."""

    names = None
    width = None
    classes = None

    def __init__(self, path: str) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.loaded = tf.saved_model.load(os.path.dirname(path))
        signatures = dict(self.loaded.signatures)
        if not signatures:
            raise BadInstance("the SavedModel has no signature to be served by")
        self.signatures = signatures
        self._serve_by(_SIGNATURE if _SIGNATURE in signatures else next(iter(signatures)))

    def _serve_by(self, name: str) -> None:
        self.signature = self.signatures[name]
        self.inputs = dict(self.signature.structured_input_signature[1])

    def signed(self, name: Any) -> SavedModel:
        """The same, served by another of its signatures ("signature_name" of a request)."""
        if name not in self.signatures:
            raise BadInstance(
                f"the model has no signature {name!r}; it has {', '.join(sorted(self.signatures))}"
            )
        other = copy.copy(self)
        other._serve_by(name)
        return other

    def rows(self, instances: Any) -> list[Any]:
        if not isinstance(instances, list) or not instances:
            raise BadInstance("instances must be a list with at least one instance")
        return instances

    def predict(self, rows: list[Any]) -> list[Any]:
        tensors = {name: self._tensor(name, spec, rows) for name, spec in self.inputs.items()}
        found = {name: _values(tensor) for name, tensor in self.signature(**tensors).items()}
        if any(len(values) != len(rows) for values in found.values()):
            raise BadInstance(
                f"the signature answers with {', '.join(f'{len(v)} of {n!r}' for n, v in found.items())} for "
                f"{len(rows)} instances"
            )
        if len(found) == 1:
            return list(next(iter(found.values())))
        return [{name: values[place] for name, values in found.items()} for place in range(len(rows))]

    def scores(self, rows: list[Any]) -> Any:
        return self.predict(rows)

    def explained(self, rows: list[Any], asked: dict[str, Any] | None) -> dict[str, Any]:
        """By integrated gradients: the attribution of a value is its way from the baseline, times the mean gradient of
        the output along the straight line from there. (Sundararajan, Taly, Yan: Axiomatic attribution for deep
        networks, 2017.) `asked` is what `shapley.Sampling.by_gradients` says."""
        if not asked:
            return {}
        names = asked["inputs"] or {name: name for name in self.inputs}
        names = {shown: self._input(name) for shown, name in names.items()}
        moving = {shown: name for shown, name in names.items() if self.inputs[name].dtype.is_floating}
        if not moving:
            raise BadInstance("the model takes no floating point numbers, in which gradients are known")
        return {"explanations": [{"attributions": self._gradients(row, asked, moving)} for row in rows]}

    def _input(self, name: str) -> str:
        found: str = name.partition(":")[0]  # TensorFlow 1's names of tensors, "dense_input:0"
        if found in self.inputs:
            return found
        if len(self.inputs) == 1:
            [only] = map(str, self.inputs)
            return only
        raise BadInstance(f"the model has no input {name!r}; it has {', '.join(self.inputs)}")

    def _gradients(self, row: Any, asked: dict[str, Any], moving: dict[str, str]) -> list[dict[str, Any]]:
        """The instance's attributions, one for each output that is asked for."""
        ends = {name: self._tensor(name, spec, [row]) for name, spec in self.inputs.items()}
        count = max(len(asked["baselines"].get(shown) or [0]) for shown in moving)
        told = self._output(ends, asked)[0]
        chosen = tf.argsort(told, direction="DESCENDING").numpy().tolist()
        wanted = asked["outputIndices"]
        chosen = [at for at in chosen if at in wanted] if wanted else chosen[: max(1, asked["topK"])]
        found = []
        for at in chosen:
            sums = {shown: tf.zeros_like(ends[name][0]) for shown, name in moving.items()}
            base = 0.0
            for number in range(count):
                starts = {
                    name: self._baseline(asked["baselines"].get(shown), number, ends[name])
                    for shown, name in moving.items()
                }
                base += float(self._output({**ends, **starts}, asked)[0][at]) / count
                slopes = self._slopes(starts, ends, asked, at)
                for shown, name in moving.items():
                    sums[shown] += (ends[name] - starts[name])[0] * slopes[name] / count
            found.append(_attribution(sums, base, float(told[at]), asked))
            if len(self._answer(ends, asked).shape) > 1:
                found[-1]["outputIndex"] = [at]
        return found

    def _slopes(self, starts: Any, ends: Any, asked: dict[str, Any], at: int) -> dict[str, Any]:
        """The mean gradients of the output `at` along the line from `starts` to `ends`, by the name of the input."""
        steps = asked["steps"]
        path = {}
        for name, end in ends.items():
            if name in starts:
                shares = (tf.range(steps, dtype=end.dtype) + 0.5) / steps
                shares = tf.reshape(shares, [steps] + [1] * (len(end.shape) - 1))
                path[name] = starts[name] + shares * (end - starts[name])
            else:
                path[name] = tf.repeat(end, steps, 0)
        with tf.GradientTape() as tape:
            tape.watch([path[name] for name in starts])
            column = self._output(path, asked)[:, at]
        slopes = tape.gradient(column, {name: path[name] for name in starts})
        if all(slope is None for slope in slopes.values()):
            raise BadInstance("the model's output has no gradient by its inputs")
        return {
            name: tf.reduce_mean(slope, 0) if slope is not None else tf.zeros_like(path[name][0])
            for name, slope in slopes.items()
        }

    def _output(self, tensors: Any, asked: dict[str, Any]) -> Any:
        """The output that is explained, a row of numbers for each row."""
        tensor = self._answer(tensors, asked)
        if not tensor.dtype.is_floating:
            raise BadInstance(f"the output is {tensor.dtype.name}, which has no gradients")
        return tf.reshape(tensor, [tensor.shape[0], -1])

    def _answer(self, tensors: Any, asked: dict[str, Any]) -> Any:
        answers = self.signature(**tensors)
        name = asked["output"].partition(":")[0]
        return answers[name] if name in answers else next(iter(answers.values()))

    def _baseline(self, given: Any, number: int, end: Any) -> Any:
        if not given:
            return tf.zeros_like(end)
        start = tf.cast(tf.constant(given[min(number, len(given) - 1)]), end.dtype)
        try:
            return tf.broadcast_to(start, end.shape)
        except tf.errors.InvalidArgumentError:
            raise BadInstance(f"inputBaselines of shape {start.shape} fit no input {end.shape[1:]}") from None

    def blame(self, rows: list[Any], error: Exception) -> str:
        text = " ".join(str(error).split())[:500] or type(error).__name__
        wanted = ", ".join(f"{name}: {spec.dtype.name}{spec.shape}" for name, spec in self.inputs.items())
        return text if isinstance(error, BadInstance) else f"The model, which takes {wanted}, says: {text}"

    def _tensor(self, name: str, spec: Any, rows: list[Any]) -> Any:
        values = [self._cell(name, place, row) for place, row in enumerate(rows)]
        try:
            return tf.constant(values, dtype=spec.dtype)
        except (TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise BadInstance(
                f"the instances make no {spec.dtype.name} tensor {spec.shape} for the input {name!r}: {why}"
            ) from None

    def _cell(self, name: str, place: int, row: Any) -> Any:
        if isinstance(row, dict) and not _is_bytes(row):
            if name not in row:
                raise BadInstance(
                    f"instances[{place}] has no {name!r}; the inputs are {', '.join(self.inputs)}"
                )
            return _decoded(row[name])
        if len(self.inputs) > 1:
            raise BadInstance(f"instances[{place}] must be an object with {', '.join(self.inputs)}")
        return _decoded(row)


def _attribution(sums: dict[str, Any], base: float, told: float, asked: dict[str, Any]) -> dict[str, Any]:
    """google.cloud.aiplatform.v1.Attribution, of what each input adds."""
    values = {shown: one.numpy().tolist() for shown, one in sums.items()}
    change = sum(float(tf.reduce_sum(one)) for one in sums.values())
    if len(values) == 1 and asked["features"]:
        [flat] = values.values()
        flat = flat if isinstance(flat, list) else [flat]
        values = {name: flat[at] for at, name in enumerate(asked["features"][: len(flat)])}
    made = {
        "baselineOutputValue": base,
        "instanceOutputValue": told,
        "featureAttributions": values,
        # By how much they miss what they explain, as a share of it.
        "approximationError": abs(change - (told - base)) / (abs(told - base) or 1.0),
    }
    if asked["outputName"]:
        made["outputName"] = asked["outputName"]
    return made


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"]


def _decoded(value: Any) -> Any:
    if _is_bytes(value):
        return base64.b64decode(value["b64"])
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _values(tensor: Any) -> list[Any]:
    return [_shown(value) for value in tensor.numpy().tolist()]


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value
