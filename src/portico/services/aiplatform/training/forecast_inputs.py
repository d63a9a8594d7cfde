"""The parameters of an AutoML forecasting training, from Google's JSON to a `ForecastSpec`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.errors import InvalidArgument
from portico.services.registry import training_inputs
from portico.services.registry.training_inputs import EXPORT, number_of
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.ml.forecast.spec import ForecastSpec

_DEFINITIONS = "gs://google-cloud-aiplatform/schema/trainingjob/definition/"
# Definition -> the method that it names, where Portico trains its own in that one's place.
DEFINITIONS = {
    f"{_DEFINITIONS}automl_time_series_forecasting_1.0.0.yaml": "",
    f"{_DEFINITIONS}automl_forecasting_1.0.0.yaml": "",  # as it was called first
    f"{_DEFINITIONS}seq2seq_plus_time_series_forecasting_1.0.0.yaml": "Sequence-to-sequence+",
    f"{_DEFINITIONS}temporal_fusion_transformer_time_series_forecasting_1.0.0.yaml": "Temporal fusion transformer",
    f"{_DEFINITIONS}time_series_dense_encoder_forecasting_1.0.0.yaml": "Time series dense encoder",
}
# What the first version of the definition called some fields.
_FORMER = {
    "staticColumns": "timeSeriesAttributeColumns",
    "timeVariantPastOnlyColumns": "unavailableAtForecastColumns",
    "timeVariantPastAndFutureColumns": "availableAtForecastColumns",
    "period": "dataGranularity",
    "pastHorizon": "contextWindow",
    "forecastWindowEnd": "forecastHorizon",
}
_LISTS = (
    "timeSeriesAttributeColumns",
    "unavailableAtForecastColumns",
    "availableAtForecastColumns",
    "holidayRegions",
)
_KNOWN = frozenset(
    {"targetColumn", "timeColumn", "timeSeriesIdentifierColumn", "transformations", "optimizationObjective",
     "trainBudgetMilliNodeHours", "weightColumn", "dataGranularity", "forecastHorizon", "contextWindow", EXPORT,
     "quantiles", "validationOptions", "additionalExperiments", "hierarchyConfig", "windowConfig",
     "enableProbabilisticInference", "forecastWindowStart", *_LISTS, *_FORMER}
)  # fmt: skip


def inputs_of(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The task's inputs under today's names.

    Raises:
        InvalidArgument: naming the field.
    """
    inputs = training_inputs.inputs_of(pipeline, _KNOWN)
    for former, name in _FORMER.items():
        if former in inputs:
            inputs.setdefault(name, inputs.pop(former))
    if _whole(inputs, "forecastWindowStart", 0) not in (0, 1):
        raise InvalidArgument(
            "forecastWindowStart must be 0 or 1 here: forecasts begin with the step after the last known one.",
            field="trainingTaskInputs.forecastWindowStart",
        )
    return inputs


def spec_of(pipeline: dict[str, Any], threads: int) -> ForecastSpec:
    """
    Raises:
        InvalidArgument: naming the field.
    """
    from portico.ml.errors import DataError
    from portico.ml.forecast.spec import ForecastSpec
    from portico.ml.learn.transform import parse_transformations

    inputs = inputs_of(pipeline)
    _refuse(inputs)
    for name in ("targetColumn", "timeColumn", "timeSeriesIdentifierColumn"):
        if not isinstance(inputs.get(name), str):
            raise InvalidArgument(
                f"trainingTaskInputs.{name} is missing.", field=f"trainingTaskInputs.{name}"
            )
    split = training_inputs.split_of(pipeline.get("inputDataConfig") or {})
    if split.kind == "stratified":
        raise InvalidArgument(
            "Time series can't be split by strata; give fractions, or a predefined or timestamp split.",
            field="inputDataConfig.stratifiedSplit",
        )
    granularity, window = _message(inputs, "dataGranularity"), _message(inputs, "windowConfig")
    hierarchy = _message(inputs, "hierarchyConfig")
    lists = {name: _strings(inputs, name) for name in _LISTS}
    transformations = inputs.get("transformations") or []
    if not isinstance(transformations, list) or not all(isinstance(t, dict) for t in transformations):
        raise InvalidArgument(
            "transformations must be a list of objects.", field="trainingTaskInputs.transformations"
        )
    try:
        spec = ForecastSpec(
            target=inputs["targetColumn"],
            time=inputs["timeColumn"],
            series=inputs["timeSeriesIdentifierColumn"],
            horizon=_whole(inputs, "forecastHorizon", 0),
            unit=str(granularity.get("unit", "")),
            count=_whole(granularity, "quantity", 1),
            context=_whole(inputs, "contextWindow", 0),
            available=lists["availableAtForecastColumns"],
            unavailable=lists["unavailableAtForecastColumns"],
            attributes=lists["timeSeriesAttributeColumns"],
            columns=parse_transformations(transformations),
            objective=inputs.get("optimizationObjective") or "minimize-rmse",
            quantiles=_numbers(inputs, "quantiles"),
            probabilistic=_flag(inputs, "enableProbabilisticInference"),
            weight_column=str(inputs.get("weightColumn") or ""),
            split=split,
            stride=_whole(window, "strideLength", 1),
            most_windows=_whole(window, "maxCount", 0),
            window_column=str(window.get("column") or ""),
            holiday_regions=lists["holidayRegions"],
            group_columns=_strings(hierarchy, "groupColumns"),
            group_weight=_weight(hierarchy, "groupTotalWeight"),
            temporal_weight=_weight(hierarchy, "temporalTotalWeight"),
            group_temporal_weight=_weight(hierarchy, "groupTemporalTotalWeight"),
            lenient=_lenient(inputs),
            budget_seconds=training_inputs.budget_of(inputs),
            threads=threads,
        )
        spec.check()
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=f"trainingTaskInputs.{error.field}") from None
    return spec


def check(pipeline: dict[str, Any], dataset: Resource) -> None:
    """What can be said before the data are read.

    Raises:
        InvalidArgument: naming the field.
    """
    spec = spec_of(pipeline, 1)
    training_inputs.require_columns(
        dataset,
        {
            "trainingTaskInputs.targetColumn": [spec.target],
            "trainingTaskInputs.timeColumn": [spec.time],
            "trainingTaskInputs.timeSeriesIdentifierColumn": [spec.series],
            "trainingTaskInputs.availableAtForecastColumns": spec.available,
            "trainingTaskInputs.unavailableAtForecastColumns": spec.unavailable,
            "trainingTaskInputs.timeSeriesAttributeColumns": spec.attributes,
            "trainingTaskInputs.transformations": [column.name for column in spec.columns],
            "trainingTaskInputs.weightColumn": [spec.weight_column] if spec.weight_column else [],
            "trainingTaskInputs.windowConfig.column": [spec.window_column] if spec.window_column else [],
            "inputDataConfig": [spec.split.column] if spec.split.column else [],
        },
    )


def _refuse(inputs: dict[str, Any]) -> None:
    if inputs.get("additionalExperiments"):
        raise InvalidArgument(
            f"Unknown experiments: {inputs['additionalExperiments']}.",
            field="trainingTaskInputs.additionalExperiments",
        )


def _lenient(inputs: dict[str, Any]) -> bool:
    wish = inputs.get("validationOptions") or "fail-pipeline"
    if wish not in ("fail-pipeline", "ignore-validation"):
        raise InvalidArgument(
            f"validationOptions is {wish!r}; it must be fail-pipeline or ignore-validation.",
            field="trainingTaskInputs.validationOptions",
        )
    return bool(wish == "ignore-validation")


def _message(inputs: dict[str, Any], name: str) -> dict[str, Any]:
    found = inputs.get(name) or {}
    if not isinstance(found, dict):
        raise InvalidArgument(f"{name} must be an object.", field=f"trainingTaskInputs.{name}")
    return found


def _strings(inputs: dict[str, Any], name: str) -> list[str]:
    found = inputs.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidArgument(f"{name} must be a list of names.", field=f"trainingTaskInputs.{name}")
    return found


def _numbers(inputs: dict[str, Any], name: str) -> list[float]:
    found = inputs.get(name) or []
    if not isinstance(found, list):
        raise InvalidArgument(f"{name} must be a list of numbers.", field=f"trainingTaskInputs.{name}")
    return [number_of({name: one}, name, 0.0) for one in found]


def _whole(inputs: dict[str, Any], name: str, default: int) -> int:
    number = number_of(inputs, name, default) if inputs.get(name) is not None else float(default)
    if not number.is_integer():
        raise InvalidArgument(
            f"{name} is {number:g}; it must be a whole number.", field=f"trainingTaskInputs.{name}"
        )
    return int(number)


def _weight(hierarchy: dict[str, Any], name: str) -> float:
    return number_of(hierarchy, name, 0.0) if hierarchy.get(name) is not None else 0.0


def _flag(inputs: dict[str, Any], name: str) -> bool:
    found = inputs.get(name, False)
    if not isinstance(found, bool):
        raise InvalidArgument(f"{name} must be true or false.", field=f"trainingTaskInputs.{name}")
    return found
