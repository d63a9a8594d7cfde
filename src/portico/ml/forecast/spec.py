"""What a forecast is asked to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from portico.ml.bqml.series.holidays import built_in, check_regions
from portico.ml.errors import DataError
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.transform import ColumnSpec

QUANTILE_LOSS = "minimize-quantile-loss"
OBJECTIVES = ("minimize-rmse", "minimize-mae", "minimize-rmsle", "minimize-rmspe", "minimize-wape-mae",
              "minimize-mape", QUANTILE_LOSS)  # fmt: skip
UNITS = ("minute", "hour", "day", "week", "month", "year")
_MINUTES = (1, 5, 10, 15, 30)
_EPOCH = date(1970, 1, 1)
_MOST_QUANTILES = 5
_MOST_GROUP_COLUMNS = 5
_MOST_STEPS = 3_000  # horizon and context together
# The cycles of a unit that a series may have, in units, the one that a naive forecast repeats first.
_SEASONS = {
    "minute": (1440, 60),
    "hour": (24, 168),
    "day": (7, 365),
    "week": (52,),
    "month": (12,),
    "year": (),
}


@dataclass(slots=True)
class ForecastSpec:
    """The parameters of one training, named as Google's AutoML forecasting inputs.

    `horizon` and `context` count steps of `count` `unit`s. `columns` are the wishes for each column; a covariate is one
    of `available` (known for the steps that are forecast), `unavailable` (known up to the origin) and `attributes` (the
    same at all times). Of the windows that train `stride` takes each so many-th origin of a series, `most_windows` so
    many at most, and `window_column` those whose row says true. `group_weight`, `temporal_weight` and
    `group_temporal_weight` are those of sums of forecasts beside single ones: over the series with the same
    `group_columns` (all series without any), over the horizon, and over both. With `lenient` rows that stand for the
    same step of a series are no reason to refuse: the last counts. `budget_seconds` are node seconds.
    """

    target: str
    time: str
    series: str
    horizon: int
    unit: str
    count: int = 1
    context: int = 0
    available: Sequence[str] = ()
    unavailable: Sequence[str] = ()
    attributes: Sequence[str] = ()
    columns: Sequence[ColumnSpec] = ()
    objective: str = "minimize-rmse"
    quantiles: Sequence[float] = ()
    probabilistic: bool = False
    weight_column: str = ""
    split: SplitSpec = field(default_factory=SplitSpec)
    stride: int = 1
    most_windows: int = 0
    window_column: str = ""
    holiday_regions: Sequence[str] = ()
    group_columns: Sequence[str] = ()
    group_weight: float = 0.0
    temporal_weight: float = 0.0
    group_temporal_weight: float = 0.0
    lenient: bool = False
    budget_seconds: float = 60.0
    seed: int = 0
    threads: int = 1

    def check(self) -> None:
        """Raises DataError for a parameter that cannot be; `field` is Google's name of it."""
        for name, value in (
            ("targetColumn", self.target),
            ("timeColumn", self.time),
            ("timeSeriesIdentifierColumn", self.series),
        ):
            if not value:
                raise DataError(f"{name} is missing", field=name)
        if len({self.target, self.time, self.series}) < 3:
            raise DataError(
                "targetColumn, timeColumn and timeSeriesIdentifierColumn must be three columns",
                field="targetColumn",
            )
        if self.unit not in UNITS:
            raise DataError(
                f"dataGranularity.unit is {self.unit!r}; it must be one of {', '.join(UNITS)}",
                field="dataGranularity.unit",
            )
        counts = _MINUTES if self.unit == "minute" else (1,)
        if self.count not in counts:
            raise DataError(
                f"dataGranularity.quantity is {self.count}; for {self.unit} it must be "
                f"{' or '.join(map(str, counts))}",
                field="dataGranularity.quantity",
            )
        if self.horizon < 1:
            raise DataError(
                f"forecastHorizon is {self.horizon}; it must be at least 1", field="forecastHorizon"
            )
        if self.context < 0:
            raise DataError(f"contextWindow is {self.context}; it can't be negative", field="contextWindow")
        if self.horizon + self.context > _MOST_STEPS:
            raise DataError(
                f"forecastHorizon and contextWindow are {self.horizon + self.context} steps together; at most "
                f"{_MOST_STEPS} are possible",
                field="contextWindow",
            )
        self._check_objective()
        self._check_roles()
        if self.stride < 1:
            raise DataError("windowConfig.strideLength must be at least 1", field="windowConfig.strideLength")
        if self.holiday_regions and self.unit != "day":
            raise DataError(
                f"holidayRegions are for daily data; dataGranularity.unit is {self.unit}",
                field="holidayRegions",
            )
        self._check_hierarchy()
        if self.budget_seconds <= 0:
            raise DataError("the training budget must be above 0", field="trainBudgetMilliNodeHours")

    def _check_objective(self) -> None:
        if self.objective not in OBJECTIVES:
            raise DataError(
                f"optimizationObjective is {self.objective!r}; it must be one of {', '.join(OBJECTIVES)}",
                field="optimizationObjective",
            )
        if self.objective == QUANTILE_LOSS and not self.quantiles:
            raise DataError(f"{QUANTILE_LOSS} needs quantiles, up to 5 between 0 and 1", field="quantiles")
        if self.objective == QUANTILE_LOSS and self.probabilistic:
            raise DataError(
                f"enableProbabilisticInference can't be used with {QUANTILE_LOSS}",
                field="enableProbabilisticInference",
            )
        if self.quantiles and self.objective != QUANTILE_LOSS and not self.probabilistic:
            raise DataError(
                f"quantiles are for {QUANTILE_LOSS}, or with enableProbabilisticInference; the objective is "
                f"{self.objective}",
                field="quantiles",
            )
        if len(self.quantiles) > _MOST_QUANTILES or len(set(self.quantiles)) < len(self.quantiles):
            raise DataError("quantiles must be up to 5 different numbers", field="quantiles")
        for quantile in self.quantiles:
            if not 0 < quantile < 1:
                raise DataError(f"{quantile:g} is no quantile between 0 and 1", field="quantiles")

    def _check_roles(self) -> None:
        roles = {
            "availableAtForecastColumns": self.available,
            "unavailableAtForecastColumns": self.unavailable,
            "timeSeriesAttributeColumns": self.attributes,
        }
        seen: dict[str, str] = {}
        for role, names in roles.items():
            for name in names:
                if name in seen:
                    raise DataError(f"the column {name!r} is in both {seen[name]} and {role}", field=role)
                seen[name] = role
        if self.target in seen and seen[self.target] != "unavailableAtForecastColumns":
            raise DataError(
                f"the target {self.target!r} is in {seen[self.target]}; it is unavailable at forecast",
                field=seen[self.target],
            )
        if seen.get(self.time, "availableAtForecastColumns") != "availableAtForecastColumns":
            raise DataError(
                f"the time column {self.time!r} is in {seen[self.time]}; it is available at forecast",
                field=seen[self.time],
            )
        if self.weight_column and self.weight_column in {self.target, self.time, self.series}:
            raise DataError(f"{self.weight_column!r} can't be the weight column, too", field="weightColumn")

    def _check_hierarchy(self) -> None:
        where = "hierarchyConfig.groupColumns"
        if len(self.group_columns) > _MOST_GROUP_COLUMNS:
            raise DataError(f"groupColumns must be up to {_MOST_GROUP_COLUMNS} columns", field=where)
        for name in self.group_columns:
            if name not in self.attributes:
                raise DataError(
                    f"groupColumns names {name!r}, which is no attribute of a series: name it in "
                    "timeSeriesAttributeColumns, too",
                    field=where,
                )
        for name, weight in self._weights_of_sums().items():
            if weight < 0:
                raise DataError(
                    f"{name}TotalWeight is {weight:g}; it can't be negative",
                    field=f"hierarchyConfig.{name}TotalWeight",
                )
        if self.group_columns and not self.sum_weights:
            raise DataError(
                "groupColumns say of which series forecasts are added up, but no sum has a weight: set "
                "groupTotalWeight, temporalTotalWeight or groupTemporalTotalWeight above 0",
                field="hierarchyConfig.groupTotalWeight",
            )

    def _weights_of_sums(self) -> dict[str, float]:
        weights = (self.group_weight, self.temporal_weight, self.group_temporal_weight)
        return dict(zip(("group", "temporal", "groupTemporal"), weights, strict=True))

    @property
    def sum_weights(self) -> dict[str, float]:
        """The weight of each kind of sum that has one: `group`, `temporal`, `groupTemporal`."""
        return {name: weight for name, weight in self._weights_of_sums().items() if weight > 0}

    @property
    def seasons(self) -> list[int]:
        """The cycles, in steps."""
        return [season // self.count for season in _SEASONS[self.unit] if season // self.count > 1]

    @property
    def covariates(self) -> dict[str, Sequence[str]]:
        """The columns to learn from beside the target, the time and the series, by role."""
        own = {self.target, self.time, self.series, self.weight_column, self.window_column}
        if self.split.kind in ("predefined", "timestamp"):
            own.add(self.split.column)
        return {
            "available": [name for name in self.available if name not in own],
            "unavailable": [name for name in self.unavailable if name not in own],
            "attribute": [name for name in self.attributes if name not in own],
        }

    def wish(self, name: str) -> ColumnSpec:
        return next((one for one in self.columns if one.name == name), ColumnSpec(name))

    @property
    def known_regions(self) -> tuple[list[str], list[str]]:
        """The holiday regions whose holidays are known here, and those that are not."""
        known, unknown = [], []
        for region in self.holiday_regions:
            try:
                check_regions([region])
                known.append(region)
            except DataError:
                unknown.append(region)
        return known, unknown

    def holidays(self, years: range) -> dict[int, str]:
        """The name of the holiday of each day (days since the epoch) in the known regions' years."""
        found: dict[int, str] = {}
        for holiday in built_in(self.known_regions[0], years):
            for day in holiday.days:
                found[(day - _EPOCH).days] = holiday.name
        return found

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ForecastSpec:
        return cls(
            **{
                **told,
                "columns": [ColumnSpec(**one) for one in told["columns"]],
                "split": SplitSpec(**told["split"]),
            }
        )
