"""ARIMA_PLUS and ARIMA_PLUS_XREG: time series behind BigQuery ML's functions."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml.answers import feature_info, told
from portico.ml.bqml.columns import Encoder
from portico.ml.bqml.model import Given, Model, Settings, function
from portico.ml.bqml.options import COMMON, Option
from portico.ml.bqml.series import anomalies, columns, forecasting, measures
from portico.ml.bqml.series import model as training
from portico.ml.bqml.series.arma import Arima
from portico.ml.bqml.series.model import Entry, TimeSeriesModel
from portico.ml.bqml.series.one import Series
from portico.ml.bqml.series.options import DECLARED, UNIVARIATE
from portico.ml.errors import DataError

_LEVEL = Option("float", 0.95)
_SHOWN = 100  # series whose ARIMA the API shows, as in Google's console


class _TimeSeries(Model):
    """What both share: all but their names and some options."""

    NAMED: ClassVar[tuple[str, ...]] = ("training_data", "custom_holiday")
    series: TimeSeriesModel

    def fit(self, given: Given) -> None:
        holidays = given.others.get("custom_holiday")
        self.series = training.fit(given.model_type, given.rows, given.options, holidays)
        self.state["series"], arrays = self.series.to_state()
        self.arrays = dict(arrays)
        options = self.series.options
        used = [options.data, *(one.name for one in self.series.regressors)]
        inputs = pa.table({name: columns.column(given.rows, name) for name in used})
        self.state["encoder"] = Encoder.fit(inputs).json()
        known = {name.lower() for name in (options.timestamp, *options.ids, *used)}
        if unused := [name for name in given.rows.column_names if name.lower() not in known]:
            self.run.warnings.append(f"ARIMA_PLUS does not use the columns {', '.join(unused)}.")
        self.run.warnings += [
            f"The time series {', '.join(map(str, entry.key))} is left out: {entry.error}"
            for entry in self.series.entries
            if entry.error
        ]
        self.run.step(None)

    def ready(self) -> None:
        self.series = TimeSeriesModel.from_state(self.state["series"], self.arrays)

    # --- functions ---

    @function("ML.FORECAST", (0, 1), horizon=Option("int", 3), confidence_level=_LEVEL)
    def forecast(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        return forecasting.forecast(self.series, **settings, future=_one(tables))

    @function("ML.EXPLAIN_FORECAST", (0, 1), horizon=Option("int", 3), confidence_level=_LEVEL)
    def explain_forecast(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        return forecasting.explain(self.series, **settings, future=_one(tables))

    @function(
        "ML.EVALUATE", (0, 1), perform_aggregation=Option("bool"), horizon=Option("int"),
        confidence_level=Option("float"),
    )  # fmt: skip
    def evaluate(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        said = {name: one for name, one in settings.items() if one is not None}
        if tables:
            if "confidence_level" in said and said.get("perform_aggregation", True):
                raise DataError("confidence_level of ML.EVALUATE needs FALSE AS perform_aggregation")
            return measures.evaluate(self.series, tables[0], **said)
        if said:
            raise DataError(f"{next(iter(said))} of ML.EVALUATE needs a table or a query")
        if self.series.regressors:
            raise DataError(
                "ML.EVALUATE of an ARIMA_PLUS_XREG model needs a table or a query; see ML.ARIMA_EVALUATE."
            )
        return measures.evaluate_training(self.series)

    @function("ML.ARIMA_EVALUATE", show_all_candidate_models=Option("bool"))
    def arima_evaluate(self, _tables: list[pa.Table], settings: Settings) -> pa.Table:
        return measures.arima_evaluate(self.series, **settings)

    @function("ML.ARIMA_COEFFICIENTS")
    def arima_coefficients(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return measures.coefficients(self.series)

    @function("ML.HOLIDAY_INFO")
    def holiday_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return measures.holiday_info(self.series)

    @function("ML.FEATURE_INFO")
    def feature_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """The data, and the features of ARIMA_PLUS_XREG."""
        return feature_info(told(Encoder.of(self.state["encoder"]).columns))

    @function("ML.TRAINING_INFO")
    def training_info(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """How long it took, of all series together."""
        return super().training_info(tables, settings).select(["training_run", "iteration", "duration_ms"])

    @function("ML.DETECT_ANOMALIES", (0, 1), anomaly_prob_threshold=_LEVEL)
    def detect_anomalies(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        if tables:
            return anomalies.detect_new(self.series, tables[0], **settings)
        return anomalies.detect_history(self.series, **settings)

    # --- what the API shows ---

    def described(self) -> dict[str, Any]:
        shown = super().described()
        fitted = list(self.series.fitted)[:_SHOWN]
        many = bool(self.series.options.ids)
        models = [
            self._shown(entry, series, one)
            for entry, series in fitted
            for one in ([series.arima] if many else series.tried)
            if not one.error
        ]
        run = shown["trainingRuns"][0]
        result: dict[str, Any] = {"arimaModelInfo": models}
        if not many:
            result["seasonalPeriods"] = models[0]["seasonalPeriods"]
        run["results"][0]["arimaResult"] = result
        hidden = ("arimaCoefficients",)
        singles = [{name: part for name, part in one.items() if name not in hidden} for one in models]
        run["evaluationMetrics"] = {
            "arimaForecastingMetrics": {"arimaSingleModelForecastingMetrics": singles}
        }
        return shown

    def _shown(self, entry: Entry, series: Series, one: Arima) -> dict[str, Any]:
        ids = self.series.options.ids
        named: dict[str, Any] = {}
        if len(ids) == 1:
            named["timeSeriesId"] = str(entry.key[0])
        elif ids:
            named["timeSeriesIds"] = [str(cell) for cell in entry.key]
        return {
            **named,
            "nonSeasonalOrder": {"p": str(one.p), "d": str(one.d), "q": str(one.q)},
            "hasDrift": one.has_drift,
            "arimaFittingMetrics": {
                "logLikelihood": one.log_likelihood,
                "aic": one.aic,
                "variance": one.variance,
            },
            "arimaCoefficients": {
                "autoRegressiveCoefficients": list(one.ar),
                "movingAverageCoefficients": list(one.ma),
                "interceptCoefficient": one.constant,
            },
            "seasonalPeriods": [season.name for season in series.seasons] or ["NO_SEASONALITY"],
            "hasHolidayEffect": any(series.effects.values()),
            "hasSpikesAndDips": bool(np.any(series.spikes)),
            "hasStepChanges": bool(np.any(series.steps)),
        }

    def _training_options(self) -> dict[str, Any]:
        shown = super()._training_options()
        for name in ("timeSeriesIdColumn", "holidayRegion"):
            values = shown.pop(name, None)
            if values:
                shown |= {name: values[0]} if len(values) == 1 else {f"{name}s": values}
        order = self.series.options.order
        if order is not None:
            shown["nonSeasonalOrder"] = dict(zip("pdq", map(str, order), strict=True))
        return shown


class ArimaPlus(_TimeSeries):
    TYPES: ClassVar[dict[str, str]] = {"ARIMA_PLUS": "ARIMA_PLUS"}
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | DECLARED | UNIVARIATE


class ArimaPlusXreg(_TimeSeries):
    TYPES: ClassVar[dict[str, str]] = {"ARIMA_PLUS_XREG": "ARIMA_PLUS_XREG"}
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | DECLARED


def _one(tables: list[pa.Table]) -> pa.Table | None:
    return tables[0] if tables else None
