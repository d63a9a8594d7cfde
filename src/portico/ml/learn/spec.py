"""What a training is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from portico.ml.errors import DataError
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.transform import ColumnSpec

PredictionType = Literal["classification", "regression"]

CLASSIFICATION_OBJECTIVES = (
    "maximize-au-roc",
    "minimize-log-loss",
    "maximize-au-prc",
    "maximize-precision-at-recall",
    "maximize-recall-at-precision",
)
REGRESSION_OBJECTIVES = ("minimize-rmse", "minimize-mae", "minimize-rmsle")
QUANTILE_OBJECTIVE = "minimize-quantile-loss"


@dataclass(slots=True)
class TrainSpec:
    """The parameters of one training, named as Google's AutoML tabular inputs.

    `columns` empty means every column but the target, the weight and a predefined split's. `optimization_objective`
    empty means Google's default: maximize-au-roc for two classes, minimize-log-loss for more, minimize-rmse.
    A `quantile` (0 to 1) is what a regression with QUANTILE_OBJECTIVE predicts of the target.
    `budget_seconds` are node seconds, `wall_seconds` bound the time by the clock (None: ten times as many; see
    `budget.Budget`); without `disable_early_stopping` training ends when it stops improving.
    """

    prediction_type: PredictionType
    target: str
    columns: Sequence[ColumnSpec] = ()
    optimization_objective: str = ""
    recall_value: float | None = None
    precision_value: float | None = None
    weight_column: str = ""
    split: SplitSpec = field(default_factory=SplitSpec)
    budget_seconds: float = 60.0
    wall_seconds: float | None = None
    disable_early_stopping: bool = False
    seed: int = 0
    threads: int = 1
    quantile: float | None = None

    def check(self) -> None:
        """Raises DataError for a parameter that cannot be."""
        if self.prediction_type not in ("classification", "regression"):
            raise DataError(
                f"predictionType is {self.prediction_type!r}; it must be classification or regression",
                field="predictionType",
            )
        allowed: tuple[str, ...] = (
            CLASSIFICATION_OBJECTIVES if self.prediction_type == "classification" else REGRESSION_OBJECTIVES
        )
        objective = self.optimization_objective
        if self.quantile is not None and self.prediction_type == "regression":
            allowed = (QUANTILE_OBJECTIVE,)
        if objective and objective not in allowed:
            raise DataError(
                f"optimizationObjective is {objective!r}; for {self.prediction_type} it must be one of "
                f"{', '.join(allowed)}",
                field="optimizationObjective",
            )
        _check_level(
            objective, "maximize-precision-at-recall", "optimizationObjectiveRecallValue", self.recall_value
        )
        _check_level(
            objective,
            "maximize-recall-at-precision",
            "optimizationObjectivePrecisionValue",
            self.precision_value,
        )
        name = self.weight_column
        if name and any(column.name == name for column in self.columns):
            raise DataError(
                f"the weight column {name!r} cannot be specified in transformations", field="transformations"
            )
        # Of a target Google's examples say what it is: categorical of a classification, numeric of a regression.
        label = "categorical" if self.prediction_type == "classification" else "numeric"
        if any(one.name == self.target and one.transformation != label for one in self.columns):
            raise DataError(
                f"the target column {self.target!r} cannot be specified in transformations, other than as {label} for "
                f"a {self.prediction_type}",
                field="transformations",
            )
        if self.weight_column == self.target:
            raise DataError("the target can't be the weight column, too", field="weightColumnName")
        if self.budget_seconds <= 0:
            raise DataError("the training budget must be above 0", field="trainBudgetMilliNodeHours")

    def columns_of(self, names: Sequence[str]) -> list[ColumnSpec]:
        """The input columns among the data's `names`; a transformation of the target is none of an input."""
        reserved = {self.target, self.weight_column}
        if self.split.kind == "predefined":
            reserved.add(self.split.column)
        if not self.columns:
            return [ColumnSpec(name) for name in names if name not in reserved]
        return [column for column in self.columns if column.name != self.target]

    def to_json(self) -> dict[str, Any]:
        from dataclasses import asdict

        return asdict(self)


def _check_level(objective: str, of: str, field_name: str, value: float | None) -> None:
    if objective == of and (value is None or not 0 <= value <= 1):
        raise DataError(f"{of} needs {field_name} between 0 and 1; it is {value}", field=field_name)
