"""One replica: loads a model and answers predictions on a Unix socket. Run by the model's own Python.

Self-contained: the standard library (3.7 and later) and the model's libraries, nothing of Portico. Started as
`python -I -B worker.py '{"fd": 3, "framework": "sklearn", "file": "/models/1/model.joblib"}'`, where `fd` is
the listening socket; `memory` are the bytes that it may use, and `seconds` those that an answer may take. It writes
one JSON line to stdout when the model is loaded (`{"ready": true, ...}`) or cannot be (`{"error": "..."}`), and serves
until stdin ends; then it answers what it has been sent, and exits.

The frames of the socket are described in `worker_server`, which speaks there.
"""

from __future__ import annotations

import base64
import errno
import json
import math
import os
import re
import socket
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    # What predict() gets: instances in the model's order of features, or what is no list as it was sent.
    Row = Any

# The kinds of a request that asks for scores too, of one in a server's own messages, and of one in Vertex AI's tensors.
SCORE, DIRECT, TENSORS = 2, 5, 6
# What the walls and limits refuse.
BEYOND = {
    errno.EPERM: "it is one process and may start no other, and has no network",
    errno.EACCES: "it reads its own files and Python's, and writes in its folder TMPDIR alone",
    errno.EROFS: "it writes in its folder TMPDIR alone",
    errno.EMFILE: "it has too many open files",
    errno.EFBIG: "a file grew too large",
    errno.ENETUNREACH: "it has no network",
}
# Where the estimators are that see nothing but a matrix of numbers.
NUMERIC = tuple(
    "sklearn." + name
    for name in (
        "cluster",
        "decomposition",
        "discriminant_analysis",
        "ensemble._forest",
        "ensemble._gb",
        "linear_model",
        "naive_bayes",
        "neighbors",
        "neural_network",
        "pipeline",
        "preprocessing._data",
        "svm",
        "tree",
    )
)


class Refused(Exception):
    """The request cannot be answered, with the reason for its sender."""


class Model:
    """What the frameworks share: reading instances into rows, and writing the output as JSON values."""

    def __init__(self) -> None:
        self.names: list[str] | None = None  # feature names, where the model knows them
        self.width: int | None = None  # number of features, where the model knows it
        self.classes: list[Any] | None = None  # labels, where `scores` answers with one score for each

    def rows(self, instances: Any) -> list[Row]:
        """`instances` as the model's predict() gets them: what is one-dimensional stays so, as on Vertex AI.

        There a dict never gets to a model that wants a matrix. Here it may, with every feature that the model
        names; other keys are ignored. null is a missing value.
        """
        if not isinstance(instances, list) or not instances:
            raise Refused("instances must be a list with at least one instance")
        # A model that knows nothing of its features (a vectorizer of dicts, of texts) gets what was sent.
        named = self.names is not None or self.width is not None
        rows = [
            self.from_dict(index, instance) if named and isinstance(instance, dict) else instance
            for index, instance in enumerate(instances)
        ]
        if not any(isinstance(row, list) for row in rows):
            return rows
        width = self.width
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                raise Refused(f"instances[{index}] is no list, and others are")
            width = len(row) if width is None else width
            if len(row) != width:
                raise Refused(f"instances[{index}] has {len(row)} values; the model takes {width}")
        return rows

    def predict(self, rows: list[Row]) -> Any:
        """The model's output, an array with an entry for each row."""
        raise NotImplementedError

    def scores(self, rows: list[Row]) -> Any:
        """What is explained: an array of class probabilities a row, or the output itself."""
        raise NotImplementedError

    def signed(self, name: str) -> Model:
        """The model as it answers under the name of a signature, which TensorFlow's have."""
        return self

    def explained(self, rows: list[Row], asked: dict[str, Any] | None) -> dict[str, Any]:
        """`explanations` by its gradients, where these are `asked` for and known."""
        return {}

    def from_dict(self, index: int, instance: dict[str, Any]) -> Row:
        if self.names is None:
            raise Refused(
                f"instances[{index}] is an object, and the model has no feature names: "
                "send a list of values in the order of the training data"
            )
        try:
            return [instance[name] for name in self.names]
        except KeyError as missing:
            raise Refused(f"instances[{index}] has no feature {missing.args[0]!r}") from None

    def place(self, rows: list[Row], wrong: Callable[[Any], bool]) -> str:
        """Says where the first value of `rows` stands for which `wrong` holds; empty when nowhere."""
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                if wrong(row):
                    return f"instances[{index}]: {json.dumps(row)[:100]}"
                continue
            for column, value in enumerate(row):
                if wrong(value):
                    feature = f"feature {self.names[column]!r}" if self.names else f"value {column}"
                    return f"instances[{index}], {feature}: {json.dumps(value)[:100]}"
        return ""

    def direct(self, method: str, content: bytes) -> bytes:
        """What the framework's own server answers to `content`, its message for the gRPC method."""
        raise Refused(
            "directRawPredict asks a server of TensorFlow Serving's, which serves TensorFlow's SavedModels alone; ask "
            "this model by predict or rawPredict"
        )

    def direct_tensors(self, request: Any) -> dict[str, Any]:
        """A DirectPredictResponse to a DirectPredictRequest, both as JSON."""
        raise Refused(
            "directPredict takes tensors, which TensorFlow's SavedModels have alone; ask this model by predict or "
            "rawPredict"
        )

    def blame(self, rows: list[Row], error: Exception) -> str:
        """The message for an exception of the model, with the row and the feature where they can be told."""
        text = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno in BEYOND:
            return f"the model's code went beyond what it may do: {BEYOND[error.errno]} (it says: {text})"
        if "could not convert string to float" in text or "strings" in text or "Unable to convert" in text:
            where = self.place(rows, lambda value: isinstance(value, str) and not is_number(value))
            if where:
                return f"{where} is not a number (the model says: {text})"
        if "NaN" in text or "infinity" in text:
            where = self.place(rows, lambda value: value is None or (is_number(value) and not finite(value)))
            if where:
                return f"{where}: the model takes no missing value here (it says: {text})"
        unknown = re.search(r"unknown categories \[(.*)\] in column", text)
        if unknown:
            where = self.place(rows, lambda value: repr(value) in unknown.group(1))
            if where:
                return f"{where} is a category that the model does not know (it says: {text})"
        if "Expected 2D" in text and not isinstance(rows[0], list):
            return (
                f"instances[0] is no list of values, and the model takes a list an instance (it says: {text})"
            )
        return f"The model raised {type(error).__name__}: {text}"


class SklearnModel(Model):
    """A scikit-learn estimator or pipeline."""

    def __init__(self, loaded: Any) -> None:
        super().__init__()
        self.loaded = loaded
        if not callable(getattr(loaded, "predict", None)):
            raise Refused(f"the file holds {type(loaded).__name__}, which has no predict()")
        names = getattr(loaded, "feature_names_in_", None)
        self.names = None if names is None else [str(name) for name in names]
        width = getattr(loaded, "n_features_in_", None)
        self.width = None if width is None else int(width)
        classes = getattr(loaded, "classes_", None)
        if classes is not None and hasattr(loaded, "predict_proba") and getattr(classes, "ndim", 0) == 1:
            self.classes = classes.tolist()
        self.by_name = self.names is not None and not takes_numbers(loaded)

    def matrix(self, rows: list[Row]) -> Any:
        import numpy

        if self.by_name and isinstance(rows[0], list):
            import pandas

            rows = [[math.nan if value is None else value for value in row] for row in rows]
            return pandas.DataFrame(rows, columns=self.names)
        kinds = {type(value) for row in rows for value in (row if isinstance(row, list) else [row])}
        if (list in kinds or dict in kinds) and self.width is not None:
            where = self.place(rows, lambda value: isinstance(value, (list, dict)))
            raise Refused(f"{where or 'an instance'} is no single value")
        # As Google's container reads them. But of texts beside numbers NumPy would make texts alone.
        mixed = str in kinds and len(kinds) > 1
        try:
            return numpy.array(rows, dtype=object) if mixed else numpy.asarray(rows)
        except (TypeError, ValueError) as error:
            raise Refused(f"instances make no array: {error}") from None

    def predict(self, rows: list[Row]) -> Any:
        return self.loaded.predict(self.matrix(rows))

    def scores(self, rows: list[Row]) -> Any:
        matrix = self.matrix(rows)
        return self.loaded.predict(matrix) if self.classes is None else self.loaded.predict_proba(matrix)


class XGBoostEstimator(SklearnModel):
    """XGBoost's scikit-learn interface (XGBClassifier and the like)."""

    def matrix(self, rows: list[Row]) -> Any:
        values = numbers(self, rows)
        if self.names is None:
            return values
        import pandas

        return pandas.DataFrame(values, columns=self.names)


class BoosterModel(Model):
    """An XGBoost booster: predicts through a DMatrix, as Google's container does. null is XGBoost's missing."""

    def __init__(self, booster: Any) -> None:
        super().__init__()
        self.booster = booster
        self.names = getattr(booster, "feature_names", None)  # not there in an old one that was loaded
        self.types = getattr(booster, "feature_types", None)
        try:
            self.width = int(booster.num_features())
        except AttributeError:  # before XGBoost 1.5
            self.width = len(self.names) if self.names else None

    def matrix(self, rows: list[Row]) -> Any:
        import xgboost

        return xgboost.DMatrix(numbers(self, rows), feature_names=self.names, feature_types=self.types)

    def predict(self, rows: list[Row]) -> Any:
        return self.booster.predict(self.matrix(rows))

    def scores(self, rows: list[Row]) -> Any:
        return self.predict(rows)


def takes_numbers(estimator: Any) -> bool:
    """Whether `estimator`, fitted on a data frame, answers alike for an array, which is five times faster.

    Not when a part of it may pick columns by their name or type.
    """
    try:
        parts = [estimator, *estimator.get_params(deep=True).values()]
    except AttributeError:  # pickled by another version, of other parameters; it may predict all the same
        return False
    return all(type(part).__module__.startswith(NUMERIC) for part in parts if hasattr(part, "get_params"))


def numbers(model: Model, rows: list[Row]) -> Any:
    """`rows` as XGBoost takes them: a matrix of 32-bit numbers, null as NaN."""
    import numpy

    if not isinstance(rows[0], list):
        raise Refused("instances[0] is no list of values, and the model takes a list an instance")
    try:
        return numpy.array(rows, dtype=numpy.float32)
    except (TypeError, ValueError):
        where = model.place(rows, lambda value: value is not None and not is_number(value))
        raise Refused(f"{where or 'a value'} is not a number") from None


def is_number(value: Any) -> bool:
    """Whether float() takes it: 1, 1.0 and "1" are alike."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def finite(value: Any) -> bool:
    return math.isfinite(float(value))


def load(framework: str, path: str) -> Model:
    """The model in the file `path`. What the library warns of goes to the log.

    Raises:
        Refused: it cannot be loaded.
    """
    failure: Exception | None = None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            if framework == "tensorflow":
                loaded = beside("worker_tensorflow").SavedModel(path, beside)
            elif framework == "pytorch":
                loaded = beside("worker_torch").Archive(path)
            else:
                pickled = path.endswith((".joblib", ".pkl", ".skops"))
                loaded = unpickle(framework, path) if pickled else booster(path)
        except MemoryError:
            raise
        except Exception as error:
            failure = error
    for line in dict.fromkeys(
        "{}: {}".format(w.category.__name__, " ".join(str(w.message).split())) for w in told
    ):
        print(line, file=sys.stderr, flush=True)
    if failure is not None:
        # Without XGBoost's time, line of C++ and stack.
        why = re.sub(r"\A\[[\d:]+\] \S+: |\s*^Stack trace:\s.*", "", str(failure), flags=re.M | re.S)
        name = type(failure).__name__
        raise Refused(f"{framework} {version(framework)} cannot load it: {name}: {why or 'no reason given'}")
    if framework in ("tensorflow", "pytorch"):
        return loaded  # type: ignore[no-any-return]
    if framework == "xgboost" and type(loaded).__name__ == "Booster":
        return BoosterModel(loaded)
    return XGBoostEstimator(loaded) if framework == "xgboost" else SklearnModel(loaded)


def beside(name: str) -> Any:
    """The module in the file `name` beside this one, whose folder may not be looked into."""
    from importlib import util

    if name in sys.modules:
        return sys.modules[name]
    spec = util.spec_from_file_location(
        name, os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpickle(framework: str, path: str) -> Any:
    if path.endswith(".joblib"):
        import joblib

        try:
            return joblib.load(path)
        except KeyError:
            if framework != "xgboost":
                raise
            return booster(path)  # as Google's container: it may be what save_model wrote
    if path.endswith(".skops"):
        import skops.io

        # It is trusted as a pickle is: what it may do the walls say.
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    import pickle

    with open(path, "rb") as file:
        return pickle.load(file)


def booster(path: str) -> Any:
    import xgboost

    loaded = xgboost.Booster()
    loaded.load_model(path)
    return loaded


def version(framework: str) -> str:
    module = "torch" if framework == "pytorch" else framework
    return str(getattr(__import__(module), "__version__", "of an unknown version"))


def short_of_memory(most: int) -> str:
    return f"it ran out of memory: it may use at most {most >> 20:,} MiB, as its machine type says"


def answer(model: Model, kind: int, body: bytes, memory: int = 0) -> tuple[int, bytes]:
    """Status and body for one request."""
    try:
        request = json.loads(body)
        if kind == DIRECT:
            return 200, direct(model, request)
        if kind == TENSORS:
            return 200, blamed(model, lambda: encode(model.direct_tensors(request)))
        rows = model.rows(request["instances"])
        try:
            if request.get("signature_name"):
                model = model.signed(request["signature_name"])
            output = model.predict(rows)
            told = {"predictions": output.tolist() if hasattr(output, "tolist") else list(output)}
            if kind == SCORE:
                scores = told["predictions"] if model.classes is None else model.scores(rows).tolist()
                told.update(scores=scores, classes=model.classes, names=model.names)
                told.update(model.explained(rows, request.get("gradients")))
        except (Refused, MemoryError):
            raise
        except Exception as error:
            raise Refused(model.blame(rows, error)) from None
        return 200, encode(told)
    except Refused as refusal:
        message = str(refusal)
    except MemoryError:
        message = "The model gave no answer: " + short_of_memory(memory) + ". Send fewer instances at once"
        print(message, file=sys.stderr, flush=True)
        return 429, json.dumps(
            {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}
        ).encode()
    except Exception as error:
        message = f"the request cannot be read: {type(error).__name__}: {error}"
    refused = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    return 400, json.dumps({"error": refused}).encode()


def direct(model: Model, request: Any) -> bytes:
    """A DirectRawPredictResponse as JSON."""
    if not isinstance(request, dict) or not isinstance(request.get("methodName"), str):
        raise Refused('methodName must be a string such as "/tensorflow.serving.PredictionService/Predict"')
    try:
        content = base64.b64decode(request.get("input") or "", validate=True)
    except (ValueError, TypeError):
        raise Refused("input must be base64") from None
    told = blamed(model, lambda: model.direct(request["methodName"], content))
    return encode({"output": base64.b64encode(told).decode()})


def blamed(model: Model, run: Callable[[], bytes]) -> bytes:
    """What `run` returns; what a model raises on the way is told as the model's."""
    try:
        return run()
    except (Refused, MemoryError):
        raise
    except Exception as error:
        raise Refused(model.blame([], error)) from None


def encode(told: dict[str, Any]) -> bytes:
    try:
        return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        return json.dumps(plain(told), allow_nan=False, separators=(",", ":")).encode()


def plain(value: Any) -> Any:
    """`value` as JSON can say it: what is not a finite number is null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def main() -> None:
    settings = json.loads(sys.argv[1])
    server = beside("worker_server")
    server.die_with_parent()
    # What the model prints goes to the log, not between the lines for the manager.
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if settings["framework"] == "container":
        beside("worker_web").main(settings, server, report, socket.socket(fileno=settings["fd"]))
        return
    try:
        model = load(settings["framework"], settings["file"])
        told = {"ready": True, "version": version(settings["framework"])}
    except MemoryError:
        told = {"error": short_of_memory(settings.get("memory", 0))}
    except Exception as error:
        told = {"error": str(error) or type(error).__name__}
    report.write(json.dumps(told) + "\n")
    report.close()
    if "error" in told:
        return
    warnings.simplefilter("ignore")
    listening = socket.socket(fileno=settings["fd"])

    def answered(kind: int, body: bytes) -> tuple[int, bytes]:
        return answer(model, kind, body, settings.get("memory", 0))

    server.Server(listening, answered, settings.get("seconds", 0)).run()


if __name__ == "__main__":
    main()
