"""A model of BigQuery ML that was registered; its TRANSFORM, where it has one, is the warehouse's SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portico.ml.bqml.serving import Served
from portico.prediction.models.predictors import bad_instance


class BigQueryModel:
    def __init__(self, path: Path) -> None:
        from portico.ml.errors import DataError

        self._data_error = DataError
        if (path / "transform.json").exists():
            from portico.warehouse.models.serving import transform_of

            inputs, transform = transform_of(path)
            self._served = Served(path, inputs, transform)
        else:
            self._served = Served(path)

    def predict(self, instances: list[Any], parameters: Any) -> list[Any]:
        try:
            return self._served.predict(instances)
        except self._data_error as error:
            raise bad_instance(error) from error

    def explain(self, instances: list[Any], parameters: Any) -> list[dict[str, Any]]:
        try:
            return self._served.explain(instances)
        except self._data_error as error:
            raise bad_instance(error) from error
