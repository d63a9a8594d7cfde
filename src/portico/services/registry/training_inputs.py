"""The parameters of an AutoML tabular training, from Google's JSON to a `TrainSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from portico.errors import InvalidArgument
from portico.services.standard import bq
from portico.services.standard.names import canonical
from portico.store.jobs import Resources
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.ml.learn.spec import TrainSpec
    from portico.ml.learn.split import SplitSpec

EXPORT = "exportEvaluatedDataItemsConfig"
_KNOWN = frozenset(
    {"targetColumn", "predictionType", "transformations", "trainBudgetMilliNodeHours", "optimizationObjective",
     "optimizationObjectiveRecallValue", "optimizationObjectivePrecisionValue", "weightColumnName", "weightColumn",
     "disableEarlyStopping", "additionalExperiments", EXPORT}
)  # fmt: skip
AUTOML = Resources(cores=8.0, memory=8 << 30)  # what a training takes of a cluster's machine
_MAX_BUDGET = 72_000  # milli node hours


def inputs_of(pipeline: dict[str, Any], known: frozenset[str] = _KNOWN) -> dict[str, Any]:
    """The canonical task inputs, whose fields are `known`. Absent and null are the same.

    Raises:
        InvalidArgument: naming the field.
    """
    raw = pipeline.get("trainingTaskInputs")
    if not isinstance(raw, dict):
        raise InvalidArgument("trainingTaskInputs must be an object.", field="trainingTaskInputs")
    inputs = {key: value for key, value in canonical(raw).items() if value not in (None, "")}
    unknown = sorted(set(inputs) - known)
    if unknown:
        raise InvalidArgument(
            f"trainingTaskInputs has unknown fields: {', '.join(unknown)}.",
            field=f"trainingTaskInputs.{unknown[0]}",
        )
    _check_export(inputs.get(EXPORT))
    return inputs


def _check_export(config: Any) -> None:
    field = f"trainingTaskInputs.{EXPORT}"
    if config is None:
        return
    if not isinstance(config, dict) or set(config) - {"destinationBigqueryUri", "overrideExistingTable"}:
        raise InvalidArgument(
            f"{EXPORT} has destinationBigqueryUri and overrideExistingTable, no more.", field=field
        )
    if not isinstance(config.get("overrideExistingTable") or False, bool):
        raise InvalidArgument(
            "overrideExistingTable must be true or false.", field=f"{field}.overrideExistingTable"
        )
    if uri := config.get("destinationBigqueryUri"):
        bq.parse(uri, f"{field}.destinationBigqueryUri")


def spec_of(pipeline: dict[str, Any], threads: int) -> TrainSpec:
    """
    Raises:
        InvalidArgument: naming the field.
    """
    from portico.ml.errors import DataError
    from portico.ml.learn.spec import TrainSpec
    from portico.ml.learn.transform import parse_transformations

    inputs = inputs_of(pipeline)
    for field in ("targetColumn", "predictionType"):
        if not isinstance(inputs.get(field), str):
            raise InvalidArgument(
                f"trainingTaskInputs.{field} is missing.", field=f"trainingTaskInputs.{field}"
            )
    if inputs.get("additionalExperiments"):
        raise InvalidArgument(
            f"Unknown experiments: {inputs['additionalExperiments']}.",
            field="trainingTaskInputs.additionalExperiments",
        )
    budget = budget_of(inputs)
    early = inputs.get("disableEarlyStopping", False)
    if not isinstance(early, bool):
        raise InvalidArgument(
            "disableEarlyStopping must be true or false.", field="trainingTaskInputs.disableEarlyStopping"
        )
    transformations = inputs.get("transformations") or []
    if not isinstance(transformations, list) or not all(isinstance(t, dict) for t in transformations):
        raise InvalidArgument(
            "transformations must be a list of objects.", field="trainingTaskInputs.transformations"
        )
    try:
        spec = TrainSpec(
            prediction_type=inputs["predictionType"],
            target=inputs["targetColumn"],
            columns=parse_transformations(transformations),
            optimization_objective=inputs.get("optimizationObjective", ""),
            recall_value=_optional(inputs, "optimizationObjectiveRecallValue"),
            precision_value=_optional(inputs, "optimizationObjectivePrecisionValue"),
            weight_column=inputs.get("weightColumnName") or inputs.get("weightColumn") or "",
            split=split_of(pipeline.get("inputDataConfig") or {}),
            budget_seconds=budget,
            disable_early_stopping=early,
            threads=threads,
        )
        spec.check()
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=f"trainingTaskInputs.{error.field}") from None
    return spec


def budget_of(inputs: dict[str, Any]) -> float:
    """The budget in node seconds.

    Raises:
        InvalidArgument: it is not above 0, or too large.
    """
    budget = number_of(inputs, "trainBudgetMilliNodeHours", 1000.0)
    if not 0 < budget <= _MAX_BUDGET:
        raise InvalidArgument(
            f"trainBudgetMilliNodeHours is {budget:g}; it must be above 0 and at most {_MAX_BUDGET}. "
            "1000 is one hour of this machine's processors, and at most ten hours by the clock.",
            field="trainingTaskInputs.trainBudgetMilliNodeHours",
        )
    return budget * 3.6


def check(pipeline: dict[str, Any], dataset: Resource) -> None:
    """What can be said before the data are read.

    Raises:
        InvalidArgument: naming the field.
    """
    spec = spec_of(pipeline, 1)
    named = {"trainingTaskInputs.targetColumn": [spec.target]}
    named["trainingTaskInputs.transformations"] = [column.name for column in spec.columns]
    named["trainingTaskInputs.weightColumnName"] = [spec.weight_column] if spec.weight_column else []
    named["inputDataConfig"] = [spec.split.column] if spec.split.column else []
    require_columns(dataset, named)


def require_columns(dataset: Resource, named: Mapping[str, Sequence[str]]) -> None:
    """`named` are names of columns by the field that has them.

    Raises:
        InvalidArgument: the dataset is no table, or is still being read, or has no such column.
    """
    metadata = dataset.body["metadata"]
    statistics = metadata.get("statistics")
    if statistics is None and not metadata.get("inputConfig"):
        raise InvalidArgument(
            f"{dataset.name} is a dataset of items; AutoML trains on tables here.",
            field="inputDataConfig.datasetId",
        )
    if statistics is None:
        raise InvalidArgument(
            f"The data of {dataset.name} are still being read; wait for its operation.",
            field="inputDataConfig.datasetId",
        )
    columns = [column["name"] for column in statistics["columns"]]
    known = set(columns)
    for field, names in named.items():
        for name in names:
            if name not in known:
                raise InvalidArgument(
                    f"The dataset has no column {name!r}; it has {', '.join(columns[:30])}.", field=field
                )


def split_of(config: dict[str, Any]) -> SplitSpec:
    from portico.ml.learn.split import SplitSpec

    kinds = [key for key in ("fractionSplit", "filterSplit", "predefinedSplit", "timestampSplit", "stratifiedSplit")
             if config.get(key) is not None]  # fmt: skip
    if len(kinds) > 1:
        raise InvalidArgument(f"Give one split, not {', '.join(kinds)}.", field=f"inputDataConfig.{kinds[1]}")
    if not kinds:
        return SplitSpec()
    kind, split = kinds[0], config[kinds[0]]
    if kind == "filterSplit":
        raise InvalidArgument(
            "filterSplit is not supported for tabular data, as on Vertex AI; use a predefined split.",
            field="inputDataConfig.filterSplit",
        )
    name = kind.removesuffix("Split")
    if name != "fraction" and not split.get("key"):
        raise InvalidArgument(
            f"{kind}.key is missing: the column to split by.", field=f"inputDataConfig.{kind}.key"
        )
    shares = [split.get(f"{part}Fraction") for part in ("training", "validation", "test")]
    if name == "predefined":
        return SplitSpec("predefined", split["key"])
    if all(share is None for share in shares):
        shares = [0.8, 0.1, 0.1]
    training, validation, test = (float(share or 0.0) for share in shares)
    return SplitSpec(name, split.get("key", ""), training, validation, test)  # type: ignore[arg-type]


def _optional(inputs: dict[str, Any], field: str) -> float | None:
    return number_of(inputs, field, 0.0) if field in inputs else None


def number_of(inputs: dict[str, Any], field: str, default: float) -> float:
    """Numbers may come as text: 64-bit integers are strings in proto3 JSON."""
    value = inputs.get(field, default)
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"{field} must be a number, not {value!r}.", field=f"trainingTaskInputs.{field}"
        ) from None
