"""Explains a model that can only be asked, by sampled Shapley values; or has one that knows its gradients do it.

The attribution of a feature is the mean, over random orders of the features, of what the output changes by
when that feature goes from its baseline to the instance's value, after those before it in the order have.
The changes along one order add up to the output at the instance less the output at the baseline, and so do
their means. (Castro, Gómez, Tejada: Polynomial calculation of the Shapley value based on sampling, 2009;
each order is followed by its reverse, as in Mitchell et al., Sampling permutations for Shapley value
estimation, 2022.)
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented

_CHUNK = 500  # rows a question, so that other predictions come between
_MOST_PATHS, _MOST_STEPS = 50, 100  # Google's limits
_METHODS = ("sampledShapleyAttribution", "integratedGradientsAttribution", "xraiAttribution")

Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is explained, from its ExplanationSpec.

    `baselines` has, by name of the input, the values to start from (several: the attributions are averaged).
    For the one input that holds the whole instance, `features` names its values; without names its attributions are a
    list, as the instance is. With `steps` it is explained by
    integrated gradients of so many steps, or by the regions of an image that `xrai` finds by them, for which `tensors`
    has the model's own name of each input and output. `pictures` says of inputs that are images how they are shown.
    """

    path_count: int = 10
    steps: int = 0
    xrai: bool = False
    pictures: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    whole: str = ""  # the name of the input that holds the whole instance
    features: Sequence[str] = ()
    output_name: str = ""
    output: Mapping[str, Any] = field(default_factory=dict)  # what the metadata says of it
    top_k: int = 1
    output_indices: Sequence[int] = ()

    @staticmethod
    def from_spec(spec: Mapping[str, Any]) -> Sampling:
        """From a Model's or a request's `explanationSpec` (JSON).

        Raises:
            InvalidArgument: it says what cannot be done, naming the field.
        """
        parameters = spec.get("parameters") or {}
        metadata = spec.get("metadata") or {}
        method, integrated, xrai = map(parameters.get, _METHODS)
        gradients = integrated if xrai is None else xrai
        if method is None and gradients is None:
            raise InvalidArgument(
                "Models in replicas are explained by sampledShapleyAttribution only, TensorFlow's also by "
                "integratedGradientsAttribution and xraiAttribution.",
                field="explanation_spec.parameters",
            )
        steps = 0 if gradients is None else int(gradients.get("stepCount") or 50)
        which = "integrated_gradients" if xrai is None else "xrai"
        if gradients is not None and not 1 <= steps <= _MOST_STEPS:
            raise InvalidArgument(
                f"stepCount is {steps}; it must be from 1 to {_MOST_STEPS}.",
                field=f"explanation_spec.parameters.{which}_attribution.step_count",
            )
        for name in ("smoothGradConfig", "blurBaselineConfig") if xrai is not None else ():
            if xrai.get(name):
                raise Unimplemented(f"{name} of xraiAttribution is not built in Portico yet; leave it out.")
        paths = int((method or {}).get("pathCount") or 10)
        if not 1 <= paths <= _MOST_PATHS:
            raise InvalidArgument(
                f"pathCount is {paths}; it must be from 1 to {_MOST_PATHS}.",
                field="explanation_spec.parameters.sampled_shapley_attribution.path_count",
            )
        inputs: Mapping[str, Mapping[str, Any]] = metadata.get("inputs") or {}
        outputs: Mapping[str, Mapping[str, Any]] = metadata.get("outputs") or {}
        tensors = {name: one.get("inputTensorName") or name for name, one in inputs.items()}
        tensors |= {name: one.get("outputTensorName") or name for name, one in outputs.items()}
        whole, features = "", []
        if len(inputs) == 1:
            name, only = next(iter(inputs.items()))
            features = list(only.get("indexFeatureMapping") or [])
            if features or only.get("encoding") == "BAG_OF_FEATURES":
                whole = name
        return Sampling(
            path_count=paths,
            steps=steps,
            xrai=xrai is not None,
            pictures={
                name: one.get("visualization") or {}
                for name, one in inputs.items()
                if one.get("modality") == "image"
            },
            tensors=tensors,
            baselines={name: list(one.get("inputBaselines") or []) for name, one in inputs.items()},
            whole=whole,
            features=features,
            output_name=next(iter(outputs), ""),
            output=next(iter(outputs.values()), {}),
            top_k=int(parameters.get("topK") or 1),
            output_indices=[int(index) for index in parameters.get("outputIndices") or []],
        )

    def overridden(self, override: Mapping[str, Any]) -> Sampling:
        """With what a request's `explanationSpecOverride` (JSON) says instead; raises like `from_spec`."""
        parameters = override.get("parameters")
        inputs = (override.get("metadata") or {}).get("inputs") or {}
        given = {name: one["inputBaselines"] for name, one in inputs.items() if one.get("inputBaselines")}
        base = replace(self, baselines={**self.baselines, **given})
        if not parameters:
            return base
        method: dict[str, Any] = {"sampledShapleyAttribution": {"pathCount": self.path_count}}
        if self.steps:
            method = {_METHODS[2 if self.xrai else 1]: {"stepCount": self.steps}}
        said = Sampling.from_spec(
            {"parameters": {**({} if set(_METHODS) & set(parameters) else method), **parameters}}
        )
        if said.xrai and not self.xrai:
            raise FailedPrecondition(
                "The model was deployed without what xraiAttribution needs; deploy it with that in its explanation "
                "spec."
            )
        return replace(
            base,
            path_count=said.path_count,
            steps=said.steps,
            xrai=said.xrai,
            top_k=said.top_k,
            output_indices=said.output_indices,
        )

    def explained(self, score: Any) -> Any:
        """Of an answer with several outputs by name the one that is explained.

        Raises:
            FailedPrecondition: the metadata names none of them.
        """
        if not isinstance(score, dict):
            return score
        name = self.tensors.get(self.output_name, "").partition(":")[0]
        if name not in score:
            raise FailedPrecondition(
                f"The model answers with {', '.join(score)}: name one of them in the outputs of the explanation "
                "metadata (its key, or its outputTensorName)."
            )
        return score[name]

    def name_outputs(self, attributions: Sequence[dict[str, Any]], prediction: Any) -> None:
        """Gives the `attributions` of one instance the display names that the output's metadata has."""
        names = self.output.get("indexDisplayNameMapping")
        key = self.output.get("displayNameMappingKey")
        if key and isinstance(prediction, dict):
            names = prediction.get(key)
        for one in attributions:
            at = (one.get("outputIndex") or [-1])[0]
            if isinstance(names, list) and 0 <= at < len(names):
                one["outputDisplayName"] = str(names[at])

    def by_gradients(self) -> dict[str, Any]:
        """What a model that knows its gradients is asked, beside the instances (`worker_gradients`)."""
        output = self.tensors.get(self.output_name, "")
        return {
            "steps": self.steps, "xrai": self.xrai, "pictures": dict(self.pictures),
            "inputs": {name: self.tensors.get(name, name) for name in self.baselines},
            "baselines": dict(self.baselines), "features": list(self.features), "output": output,
            "outputName": self.output_name, "topK": self.top_k, "outputIndices": list(self.output_indices),
        }  # fmt: skip


def explain(body: bytes, sampling: Sampling | None) -> Generator[bytes, Answer | None, Answer]:
    """Asks for the scores that it needs and gives the explanation of `body`, `{"instances": [...]}`.

    Yields request bodies for the frame kind SCORE, is sent their answers, and returns status and body:
    `{"explanations": [{"attributions": [...]}], "predictions": [...]}`, or the first refusal of the model.
    What is explained is the probability of a class where the model has probabilities, else its prediction.

    Raises:
        FailedPrecondition: the model has no explanation spec.
        InvalidArgument: the body has no instances.
    """
    if sampling is None:
        raise FailedPrecondition(
            "This model was deployed without an explanation spec: upload it with explanationSpec."
        )
    try:
        request = orjson.loads(body)
        instances = request["instances"]
        override = request.get("explanationSpecOverride")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidArgument("The request has no instances.", field="instances") from None
    if override:
        sampling = sampling.overridden(override)
    more = {"gradients": sampling.by_gradients()} if sampling.steps else {}
    first = yield orjson.dumps({"instances": instances, **more})
    assert first is not None
    if first[0] != 200:
        return first
    told = orjson.loads(first[1])
    if sampling.steps:
        if "explanations" not in told:
            raise FailedPrecondition(
                "Attributions by gradients need a model that knows its gradients, which TensorFlow's do; explain "
                "this one by sampledShapleyAttribution."
            )
        for explained, prediction in zip(told["explanations"], told["predictions"], strict=True):
            sampling.name_outputs(explained["attributions"], prediction)
        return 200, orjson.dumps({"explanations": told["explanations"], "predictions": told["predictions"]})
    explanations = []
    for index, instance in enumerate(instances):
        walk = _Walk(instance, sampling, told["names"], index)
        outputs: list[Any] = []
        rows = walk.rows()
        for start in range(0, len(rows), _CHUNK):
            answer = yield orjson.dumps({"instances": rows[start : start + _CHUNK]})
            assert answer is not None
            if answer[0] != 200:
                return answer[0], _on_the_way(answer[1], index)
            outputs += map(sampling.explained, orjson.loads(answer[1])["scores"])
        score = sampling.explained(told["scores"][index])
        attributions = walk.attributions(outputs, score, told["classes"])
        sampling.name_outputs(attributions, told["predictions"][index])
        explanations.append({"attributions": attributions})
    return 200, orjson.dumps({"explanations": explanations, "predictions": told["predictions"]})


def _on_the_way(answer: bytes, index: int) -> bytes:
    """A refusal of a point between a baseline and an instance, which nobody has sent, in words of the instance."""
    try:
        told = orjson.loads(answer)
        said = re.sub(r"^instances\[\d+\]", "a point on the way to it", told["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer
    told["error"]["message"] = (
        f"instances[{index}] can't be explained, for the model refuses what lies between its baseline and it: {said}. "
        "Give inputBaselines that the model takes: without them numbers start from 0, and texts from the empty one."
    )
    return orjson.dumps(told)


class _Walk:
    """The paths from the baselines of one instance to it."""

    def __init__(self, instance: Any, sampling: Sampling, names: Sequence[str] | None, index: int) -> None:
        self._sampling = sampling
        self._keys: list[Any]
        self._rest: dict[str, Any] = {}
        self._whole = sampling.whole
        self._single = not isinstance(instance, (dict, list))  # a text of its own, or a number
        if isinstance(instance, dict):
            self._keys = [key for key in instance if names is None or key in names]
            declared = {sampling.tensors.get(name, name): name for name in sampling.baselines}
            if not sampling.whole and not declared.keys().isdisjoint(self._keys):
                # What the metadata doesn't name is no feature: it keeps the instance's value.
                self._rest = {key: instance[key] for key in self._keys if key not in declared}
                self._keys = [key for key in self._keys if key in declared]
            self._names = [declared.get(key, str(key)) for key in self._keys]
        else:
            [lone] = sampling.baselines if len(sampling.baselines) == 1 else [""]
            if lone and not self._single:  # a list that no name tells apart is the only input there is
                self._whole = lone
            instance = [instance] if self._single else instance
            self._keys = list(range(len(instance)))
            known = [lone] if lone and self._single else sampling.features or names or []
            self._names = [known[at] if at < len(known) else str(at) for at in self._keys]
        self._instance = instance
        self._index = index
        self._starts = self._baselines()
        self._paths: list[tuple[int, list[int]]] = []

    def rows(self) -> list[Any]:
        """The baselines, and then for each path the points on it, its start left out."""
        dice = random.Random(0)  # the same question gets the same answer
        rows = [self._row(start) for start in self._starts]
        for number, start in enumerate(self._starts):
            # What already has its baseline's value changes nothing, wherever it stands in the order.
            moving = [at for at, value in enumerate(start) if value != self._instance[self._keys[at]]]
            order = list(moving)
            for path in range(self._sampling.path_count):
                if path % 2:
                    order = order[::-1]
                else:
                    order = dice.sample(moving, len(moving))
                self._paths.append((number, order))
                point = list(start)
                for at in order:
                    point[at] = self._instance[self._keys[at]]
                    rows.append(self._row(point))
        return rows

    def attributions(
        self, outputs: Sequence[Any], score: Any, classes: Sequence[Any] | None
    ) -> list[dict[str, Any]]:
        """google.cloud.aiplatform.v1.Attribution for each output asked for, given the outputs of `rows()`."""
        several = isinstance(score, list)
        values = score if several else [score]
        chosen = sorted(range(len(values)), key=lambda at: -_number(values[at]))
        if self._sampling.output_indices:
            chosen = [at for at in chosen if at in self._sampling.output_indices]
        elif self._sampling.top_k > 0:
            chosen = chosen[: self._sampling.top_k]
        told = []
        for at in chosen:
            column = [_number(one[at] if several else one) for one in outputs]
            attribution = self._attribution(column, _number(values[at]))
            if several:
                attribution["outputIndex"] = [at]
            if classes is not None:
                attribution["outputDisplayName"] = str(classes[at])
            if self._sampling.output_name:
                attribution["outputName"] = self._sampling.output_name
            told.append(attribution)
        return told

    def _attribution(self, column: Sequence[float], score: float) -> dict[str, Any]:
        starts = column[: len(self._starts)]
        sums, squares = [0.0] * len(self._keys), [0.0] * len(self._keys)
        cursor = len(starts)
        for number, order in self._paths:
            before = starts[number]
            for at in order:
                change = column[cursor] - before
                sums[at] += change
                squares[at] += change * change
                before = column[cursor]
                cursor += 1
        paths = len(self._paths)
        means = [total / paths for total in sums]
        baseline = math.fsum(starts) / len(starts)
        # The standard error of the attributions, as a share of what they explain.
        variance = math.fsum(
            max(square / paths - mean * mean, 0.0) for square, mean in zip(squares, means, strict=True)
        )
        error = math.sqrt(variance / paths) / (abs(score - baseline) or 1.0)
        return {
            "baselineOutputValue": baseline,
            "instanceOutputValue": score,
            "featureAttributions": self._features(means),
            "approximationError": error,
        }

    def _features(self, means: Sequence[float]) -> dict[str, Any]:
        if (
            self._whole
            and not self._sampling.features
            and not self._single
            and not isinstance(self._instance, dict)
        ):
            return {self._whole: list(means)}
        return dict(zip(self._names, means, strict=True))

    def _row(self, point: Sequence[Any]) -> Any:
        if self._single:
            return point[0]
        if isinstance(self._instance, dict):
            return {**self._rest, **dict(zip(self._keys, point, strict=True))}
        return list(point)

    def _baselines(self) -> list[list[Any]]:
        sampling = self._sampling
        if self._whole and not self._single and (given := sampling.baselines.get(self._whole)):
            given = [_spread(one, self._instance) for one in given]
            for baseline in given:
                if not isinstance(baseline, list) or len(baseline) != len(self._keys):
                    raise FailedPrecondition(
                        f"Each of inputBaselines of {self._whole!r} must be a number, or a list of "
                        f"{len(self._keys)} values, as the instance is."
                    )
            return [list(baseline) for baseline in given]
        count = max((len(sampling.baselines.get(name) or [0]) for name in self._names), default=1)
        return [[self._baseline(at, number) for at in range(len(self._keys))] for number in range(count)]

    def _baseline(self, at: int, number: int) -> Any:
        value = self._instance[self._keys[at]]
        given = self._sampling.baselines.get(self._names[at])
        return _spread(given[min(number, len(given) - 1)], value) if given else _nothing_like(value)


def _nothing_like(value: Any) -> Any:
    """The baseline of a feature for which none is given: zeros, and the empty text, in the shape of `value`."""
    if isinstance(value, list):
        return [_nothing_like(one) for one in value]
    return "" if _is_text(value) else 0


def _spread(baseline: Any, over: Any) -> Any:
    """`baseline`, a scalar in the shape of the value that it is for."""
    if isinstance(over, list) and not isinstance(baseline, list):
        return [_spread(baseline, one) for one in over]
    return baseline


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise FailedPrecondition(
        f"The model predicts {value!r}, which is no number, so its prediction cannot be attributed to features."
    )
