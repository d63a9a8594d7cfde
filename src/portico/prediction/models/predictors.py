"""Loaded models of every format that is served in this process, for fronts and batch workers alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from portico.errors import FailedPrecondition, InvalidArgument, PorticoError

FOREIGN: Final = frozenset({"lightgbm", "onnx"})  # files that a stranger may have made


class Predictor(Protocol):
    """A loaded model. Thread-safe. Instances and parameters are JSON values as the request has them.

    Both methods raise InvalidArgument, naming the row and the feature, for instances the model can't take.
    """

    def predict(self, instances: list[Any], parameters: Any) -> list[Any]:
        """One prediction for each instance, as JSON values."""
        ...

    def explain(self, instances: list[Any], parameters: Any) -> list[dict[str, Any]]:
        """One google.cloud.aiplatform.v1.Explanation for each instance; attributions add up to the prediction.

        Raises:
            FailedPrecondition: the model needs an explanation spec and was deployed without.
            Unimplemented: this kind of model can't be explained yet.
        """
        ...


def load(format: str, path: Path | str, explanation: Mapping[str, Any] | None = None) -> Predictor:
    """Loads the model of `format` ("portico", "bqml", "lightgbm", "onnx") at `path`.

    `explanation` is the explanation spec of the deployed model, for formats that need one to explain.

    Raises:
        FailedPrecondition: what is at `path` is no such model. The message says what is wrong.
    """
    try:
        if format == "portico":
            return _Portico(Path(path))
        if format == "lightgbm":
            from portico.prediction.models.lightgbm_model import LightGBMModel

            return LightGBMModel(Path(path))
        if format == "bqml":
            from portico.prediction.models.bqml_model import BigQueryModel

            return BigQueryModel(Path(path))
        if format == "onnx":
            from portico.prediction.models.onnx_model import OnnxModel

            return OnnxModel(Path(path), explanation)
    except PorticoError:
        raise
    except Exception as error:
        why = str(error) or ("it wants more memory than it may take"
                             if isinstance(error, MemoryError) else type(error).__name__)  # fmt: skip
        raise FailedPrecondition(f"The {format} model can't be loaded: {why}") from error
    raise FailedPrecondition(f"Models of the format {format!r} are not served in this process.")


class _Portico:
    """A model that Portico's own training made."""

    def __init__(self, path: Path) -> None:
        from portico.ml.errors import DataError
        from portico.ml.learn.model import Model

        self._model = Model.load(path)
        self._data_error = DataError

    def predict(self, instances: list[Any], parameters: Any) -> list[Any]:
        try:
            return self._model.predict_instances(instances, parameters)
        except self._data_error as error:
            raise bad_instance(error) from error

    def explain(self, instances: list[Any], parameters: Any) -> list[dict[str, Any]]:
        try:
            explanations: list[dict[str, Any]] = self._model.explain_instances(instances, parameters)
            return explanations
        except self._data_error as error:
            raise bad_instance(error) from error


def bad_instance(error: Any) -> InvalidArgument:
    where = "" if error.row is None else f"instances[{error.row}]"
    field = f"{where}.{error.field}" if where and error.field else where or error.field
    message = error.message if not where or where in error.message else f"{where}: {error.message}"
    return InvalidArgument(message, field=field)
