"""Explains a TensorFlow SavedModel by its gradients: integrated gradients, and XRAI of images; imported by
`worker_tensorflow` alone.

A model that takes bytes is explained by the signatures that Vertex AI wants of it: "xai_preprocess" makes of the
instances what "xai_model" takes.
https://cloud.google.com/vertex-ai/docs/explainable-ai/improving-explanations
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_PREPROCESS, _MODEL = "xai_preprocess", "xai_model"
_BATCH = 16  # points of a path that are asked at once by XRAI


class Unexplained(Exception):
    """What is asked for can't be explained, and why."""


class Gradients:
    """`asked` is what `shapley.Sampling.by_gradients` says."""

    def __init__(self, model: Any, asked: dict[str, Any]) -> None:
        self.model = model
        self.asked = asked
        self.prepared = _PREPROCESS in model.signatures and _MODEL in model.signatures
        self.signature = model.signatures[_MODEL] if self.prepared else model.signature
        self.inputs = dict(self.signature.structured_input_signature[1])
        names = asked["inputs"] or {name: name for name in self.inputs}
        named = {shown: self._input(name) for shown, name in names.items()}
        self.moving = {shown: name for shown, name in named.items() if self.inputs[name].dtype.is_floating}
        if not self.moving:
            raise Unexplained(
                "the model takes no floating point numbers, in which gradients are known; one that takes bytes needs "
                f"the signatures {_PREPROCESS} and {_MODEL} beside"
            )

    def explanations(self, rows: list[Any]) -> list[dict[str, Any]]:
        """google.cloud.aiplatform.v1.Explanation of each row."""
        return [{"attributions": self._attributions(row)} for row in rows]

    def _attributions(self, row: Any) -> list[dict[str, Any]]:
        """The instance's attributions, one for each output that is asked for."""
        ends = {name: self.model.tensor(name, spec, [row]) for name, spec in self.model.inputs.items()}
        if self.prepared:
            ends = self._named(self.model.signatures[_PREPROCESS](**ends))
        told = self._output(ends)[0]
        chosen = tf.argsort(told, direction="DESCENDING").numpy().tolist()
        wanted = self.asked["outputIndices"]
        chosen = [at for at in chosen if at in wanted] if wanted else chosen[: max(1, self.asked["topK"])]
        way = self._xrai if self.asked["xrai"] else self._integrated
        found = []
        for at in chosen:
            sums, base = way(ends, at)
            found.append(self._attribution(sums, base, float(told[at]), ends))
            if len(self._answer(ends).shape) > 1:
                found[-1]["outputIndex"] = [at]
        return found

    def _named(self, made: dict[str, Any]) -> dict[str, Any]:
        """What "xai_preprocess" made, by the names of what "xai_model" takes."""
        if len(made) == 1 and len(self.inputs) == 1:
            return {next(iter(self.inputs)): next(iter(made.values()))}
        missing = [name for name in self.inputs if name not in made]
        if missing:
            raise Unexplained(f"{_PREPROCESS} makes no {', '.join(missing)}, which {_MODEL} takes")
        return {name: made[name] for name in self.inputs}

    # --- integrated gradients -----------------------------------------------------------------------------

    def _integrated(self, ends: dict[str, Any], at: int) -> tuple[dict[str, Any], float]:
        """The attribution of a value is its way from the baseline, times the mean gradient of the output along the
        straight line from there. (Sundararajan, Taly, Yan: Axiomatic attribution for deep networks, 2017.)"""
        baselines = self.asked["baselines"]
        count = max(len(baselines.get(shown) or [0]) for shown in self.moving)
        sums = {shown: tf.zeros_like(ends[name][0]) for shown, name in self.moving.items()}
        base = 0.0
        for number in range(count):
            starts = {
                name: _baseline(baselines.get(shown), number, ends[name])
                for shown, name in self.moving.items()
            }
            base += float(self._output({**ends, **starts})[0][at]) / count
            slopes = self._slopes(starts, ends, at)
            for shown, name in self.moving.items():
                sums[shown] += (ends[name] - starts[name])[0] * slopes[name] / count
        return sums, base

    def _slopes(self, starts: Any, ends: Any, at: int) -> dict[str, Any]:
        """The mean gradients of the output `at` along the line from `starts` to `ends`, by the name of the input."""
        steps = self.asked["steps"]
        path = {}
        for name, end in ends.items():
            if name in starts:
                shares = (tf.range(steps, dtype=end.dtype) + 0.5) / steps
                shares = tf.reshape(shares, [steps] + [1] * (len(end.shape) - 1))
                path[name] = starts[name] + shares * (end - starts[name])
            else:
                path[name] = tf.repeat(end, steps, 0)
        slopes = self._gradients(path, list(starts), at)
        return {name: tf.reduce_mean(slope, 0) for name, slope in slopes.items()}

    def _gradients(self, tensors: dict[str, Any], names: list[str], at: int) -> dict[str, Any]:
        """Those of the output `at` by the inputs `names`, in each row of `tensors`."""
        with tf.GradientTape() as tape:
            tape.watch([tensors[name] for name in names])
            column = self._output(tensors)[:, at]
        found = tape.gradient(column, {name: tensors[name] for name in names})
        if all(one is None for one in found.values()):
            raise Unexplained("the model's output has no gradient by its inputs")
        return {name: tf.zeros_like(tensors[name]) if one is None else one for name, one in found.items()}

    # --- XRAI ---------------------------------------------------------------------------------------------

    def _xrai(self, ends: dict[str, Any], at: int) -> tuple[dict[str, Any], float]:
        """The regions of an image that the output is due to, from a black and from a white image. (Kapishnikov,
        Bolukbasi, Viégas, Terry: XRAI: Better attributions through regions, 2019; the authors' package.)"""
        import numpy
        from saliency.core import INPUT_OUTPUT_GRADIENTS, XRAI, XRAIParameters

        [(shown, name)] = self.moving.items() if len(self.moving) == 1 else [("", "")]
        if not name or len(ends[name].shape) != 4 or ends[name].shape[-1] not in (1, 3):
            raise Unexplained(
                "xraiAttribution explains a model of one image, height × width × 1 or 3 numbers; this one takes "
                + ", ".join(f"{one}: {list(ends[tensor].shape[1:])}" for one, tensor in self.moving.items())
            )
        picture = ends[name][0].numpy()
        if float(picture.max()) == float(picture.min()):
            raise Unexplained("the image is of one colour: it has no regions")

        def asked(points: Any, **_: Any) -> dict[Any, Any]:
            moved = tf.cast(tf.constant(numpy.asarray(points)), ends[name].dtype)
            tensors = {one: tf.repeat(end, moved.shape[0], 0) for one, end in ends.items()}
            return {
                INPUT_OUTPUT_GRADIENTS: self._gradients({**tensors, name: moved}, [name], at)[name].numpy()
            }

        mask = XRAI().GetMask(
            picture, asked, extra_parameters=XRAIParameters(steps=self.asked["steps"]), batch_size=_BATCH
        )
        starts = (float(picture.min()), float(picture.max()))
        base = (
            sum(float(self._output({**ends, name: tf.fill(ends[name].shape, one)})[0][at]) for one in starts)
            / 2
        )
        return {shown: tf.constant(mask)}, base

    # --- what is said -------------------------------------------------------------------------------------

    def _attribution(
        self, sums: dict[str, Any], base: float, told: float, ends: dict[str, Any]
    ) -> dict[str, Any]:
        """google.cloud.aiplatform.v1.Attribution, of what each input adds."""
        values = {shown: one.numpy().tolist() for shown, one in sums.items()}
        if len(values) == 1 and self.asked["features"]:
            [flat] = values.values()
            flat = flat if isinstance(flat, list) else [flat]
            values = {name: flat[at] for at, name in enumerate(self.asked["features"][: len(flat)])}
        for shown, looks in self.asked["pictures"].items():
            if shown in values:
                values[shown] = self._picture(sums[shown], ends[self.moving[shown]][0], looks)
        made = {"baselineOutputValue": base, "instanceOutputValue": told, "featureAttributions": values}
        if not self.asked["xrai"]:
            # By how much they miss what they explain, as a share of it.
            change = sum(float(tf.reduce_sum(one)) for one in sums.values())
            made["approximationError"] = abs(change - (told - base)) / (abs(told - base) or 1.0)
        if self.asked["outputName"]:
            made["outputName"] = self.asked["outputName"]
        return made

    def _picture(self, sums: Any, picture: Any, looks: dict[str, Any]) -> dict[str, str]:
        pictures = self.model.beside("worker_pictures")
        try:
            return dict(pictures.shown(sums.numpy(), picture.numpy(), looks, xrai=self.asked["xrai"]))
        except pictures.NoPicture as error:
            raise Unexplained(str(error)) from None

    def _input(self, name: str) -> str:
        found: str = name.partition(":")[0]  # TensorFlow 1's names of tensors, "dense_input:0"
        if found in self.inputs:
            return found
        if len(self.inputs) == 1:
            [only] = map(str, self.inputs)
            return only
        raise Unexplained(f"the model has no input {name!r}; it has {', '.join(self.inputs)}")

    def _output(self, tensors: Any) -> Any:
        """The output that is explained, a row of numbers for each row."""
        tensor = self._answer(tensors)
        if not tensor.dtype.is_floating:
            raise Unexplained(f"the output is {tensor.dtype.name}, which has no gradients")
        return tf.reshape(tensor, [tensor.shape[0], -1])

    def _answer(self, tensors: Any) -> Any:
        answers = self.signature(**tensors)
        name = self.asked["output"].partition(":")[0]
        return answers[name] if name in answers else next(iter(answers.values()))


def _baseline(given: Any, number: int, end: Any) -> Any:
    if not given:
        return tf.zeros_like(end)
    start = tf.cast(tf.constant(given[min(number, len(given) - 1)]), end.dtype)
    try:
        return tf.broadcast_to(start, end.shape)
    except tf.errors.InvalidArgumentError:
        raise Unexplained(f"inputBaselines of shape {start.shape} fit no input {end.shape[1:]}") from None
