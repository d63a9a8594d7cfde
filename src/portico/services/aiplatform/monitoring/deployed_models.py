"""The deployed models as monitoring asks them: what they answer for training rows, and why they answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from portico.errors import FailedPrecondition, PorticoError
from portico.services.call import Rooms
from portico.services.standard.serving import EndpointPrivate
from portico.store import resources
from portico.store.resources import Resource
from portico.store.served import ServedModel

if TYPE_CHECKING:
    from portico.prediction.models.predictors import Predictor

NATIVE: Final = frozenset({"portico", "lightgbm", "onnx"})  # a user's code never runs in the watcher
_HELD: Final = 4  # models in memory
_ROWS: Final = 4_096  # asked at once

_T = TypeVar("_T")


def served(endpoint: Resource | None, deployed_id: str) -> ServedModel | None:
    """What the fronts serve as `deployed_id` None where it is deployed no more."""
    return EndpointPrivate.of(endpoint).served.get(deployed_id) if endpoint else None


class WatchedModels:
    """Loaded models; the newest used stay in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._loaded: OrderedDict[str, Predictor] = OrderedDict()

    def load(self, endpoint: str, deployed_id: str) -> Predictor | None:
        """None for a model that runs in replicas only, or is gone."""
        with self._rooms.database.read() as connection:
            model = served(resources.get(connection, endpoint), deployed_id)
        if model is None or model.format not in NATIVE:
            return None
        key = f"{model.path}/{deployed_id}"
        found = self._loaded.pop(key, None)
        if found is None:
            found = _opened(model)
        self._loaded[key] = found
        while len(self._loaded) > _HELD:
            self._loaded.popitem(last=False)
        return found


def _opened(model: ServedModel) -> Predictor:
    from portico.prediction.models import predictors
    from portico.prediction.models.native.files import check_digest
    from portico.prediction.models.native.process import Spec, WatchedProcess

    format, path, explanation = model.format, model.path, model.explanation
    if format == "onnx":  # it may take for ever, or more memory than the watcher has
        return WatchedProcess(Spec(format, path, model.digest, explanation))
    check_digest(Path(path), model.digest)
    return predictors.load(format, Path(path), explanation or None)


def predictions(model: Predictor, rows: Sequence[Any]) -> list[Any]:
    """One answer a row; None for rows that the model refuses."""
    return _answers(lambda chosen: model.predict(chosen, None), rows)


def attributions(model: Predictor, rows: Sequence[Any]) -> list[dict[str, float]]:
    """By feature, of each row that can be explained; of several outputs that are explained the first's.

    Raises:
        FailedPrecondition: not one row can be explained. The message says why.
    """
    explained = _answers(lambda chosen: model.explain(chosen, None), rows, strict=True)
    parts = [e["attributions"][0]["featureAttributions"] for e in explained if e]
    return [{name: _size(value) for name, value in part.items()} for part in parts]


def _answers(
    ask: Callable[[list[Any]], list[_T]], rows: Sequence[Any], strict: bool = False
) -> list[_T | None]:
    from portico.ml.errors import DataError

    made: list[_T | None] = []
    message = ""
    for start in range(0, len(rows), _ROWS):
        chosen = list(rows[start : start + _ROWS])
        try:
            made += ask(chosen)
        except (PorticoError, DataError):
            for row in chosen:
                try:
                    made += ask([row])
                except (PorticoError, DataError) as error:
                    made.append(None)
                    message = message or error.message
    if strict and message and not any(made):
        raise FailedPrecondition(f"Not one row can be explained: {message}")
    return made


def _size(value: Any) -> float:
    """Of a feature that is a list, the sum of its parts' absolute values."""
    return sum(map(_size, value)) if isinstance(value, list) else abs(float(value or 0.0))
