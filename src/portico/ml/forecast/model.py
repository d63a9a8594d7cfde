"""A trained forecasting model: native files, and the same forecast of the same rows wherever it is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml import arrays
from portico.ml.arrays import Floats, Mask
from portico.ml.errors import DataError
from portico.ml.forecast.features import Scale, Seen, importance, see
from portico.ml.forecast.panel import Ints, Panel, read_panel
from portico.ml.forecast.spec import ForecastSpec
from portico.ml.forecast.windows import Windows
from portico.ml.learn.model import Model

FORMAT = "portico-forecast-1"
MEDIAN = 0.5


@dataclass(slots=True)
class Predicted:
    """Of some windows: `values` (n,), `quantiles` (n, quantiles), and which could not be read, with the reason."""

    values: Floats
    quantiles: Floats
    bad: Mask
    messages: dict[int, str]


@dataclass(slots=True)
class Forecast:
    """`rows` of a table, in order, that are forecast; `values` (n,), `quantiles` (n, quantiles). `bad` says why a row
    is not; `gaps` counts the rows without a target that have a known one after them, which are history. `seen` is what
    the model saw of them."""

    rows: Ints
    values: Floats
    quantiles: Floats
    bad: dict[int, str]
    gaps: int
    seen: Seen


@dataclass(slots=True)
class Member:
    """A model of the `quantile` that it learned, "" for the point forecast. `frame` says what it learned the difference
    from (see `features.Seen`); without a model that is taken to be nothing, which is the simple forecast itself."""

    quantile: str
    frame: str
    model: Model | None


@dataclass(slots=True)
class ForecastModel:
    """What is forecast is the mean of the `members` of its quantile."""

    spec: ForecastSpec
    scale: Scale
    members: list[Member]
    importance: dict[str, float] = field(default_factory=dict)

    @property
    def quantiles(self) -> list[float]:
        return sorted(self.spec.quantiles)

    @property
    def columns(self) -> list[str]:
        """The data's columns that it reads beside the target."""
        roles = self.spec.covariates
        return [
            self.spec.time,
            self.spec.series,
            *roles["available"],
            *roles["unavailable"],
            *roles["attribute"],
        ]

    def predict(self, seen: Seen) -> Predicted:
        """Quantiles never cross: they are put in order (Chernozhukov et al. 2010)."""
        bad = np.zeros(seen.table.num_rows, bool)
        messages: dict[int, str] = {}
        said: dict[str, list[Floats]] = {}
        for member in self.members:
            learned = np.zeros(len(bad))
            if member.model:
                found = member.model.predict_table(seen.table)
                assert found.values is not None
                learned = found.values
                bad, messages = bad | found.bad, messages | found.messages
            said.setdefault(member.quantile, []).append(self._back(seen, member.frame, learned))
        made = {name: np.mean(values, axis=0) for name, values in said.items()}
        columns = [made[str(quantile)] for quantile in self.quantiles]
        quantiles = np.sort(np.stack(columns, axis=1), axis=1) if columns else np.empty((len(bad), 0))
        if "" in made:
            values = made[""]
        elif MEDIAN in self.quantiles:
            values = quantiles[:, self.quantiles.index(MEDIAN)]
        else:
            values = made[str(MEDIAN)]
        return Predicted(values, quantiles, bad, messages)

    @property
    def point(self) -> list[Member]:
        """Those that make the point forecast: of the median, where the objective is about quantiles."""
        of_point = [member for member in self.members if not member.quantile]
        return of_point or [member for member in self.members if member.quantile == str(MEDIAN)]

    def _back(self, seen: Seen, frame: str, learned: Floats) -> Floats:
        values = seen.anchors[frame] + seen.size * learned
        if self.scale.logs:
            values = np.expm1(np.minimum(values, 700.0))
        return values if self.scale.floor is None else np.maximum(values, self.scale.floor)

    def forecast(self, table: pa.Table) -> Forecast:
        """Forecasts the rows whose target is empty, up to `horizon` steps after the last one of their series that is
        known.

        Raises:
            DataError: a column is absent, or no row's target is empty.
        """
        spec = self.spec
        for name in (spec.target, *self.columns):
            if name not in table.column_names:
                raise DataError(
                    f"the data have no column {name!r}, which the model was trained with", field=name
                )
        panel = read_panel(table, spec)
        cells, unreadable = arrays.numbers(table[spec.target])
        empty = arrays.missing(table[spec.target])
        bad = dict(panel.bad)
        for row in np.flatnonzero(~empty & (unreadable | ~np.isfinite(cells))).tolist():
            bad.setdefault(row, f"the target {spec.target!r} is no number")
        asked = np.flatnonzero(empty & (panel.slot >= 0))
        if not len(asked) and not (empty & (panel.slot < 0)).any():
            raise DataError(
                f"no row is to be forecast: the target {spec.target!r} is empty in none; give the rows of the horizon "
                "after those of the context, with an empty target",
                field=spec.target,
            )
        target = panel.of_slots(cells)
        slots = panel.slot[asked]
        origin = _origins(panel, target)[slots]
        ahead = slots - origin
        for row, far in zip(asked[ahead > spec.horizon].tolist(), ahead[ahead > spec.horizon], strict=True):
            bad.setdefault(
                row,
                f"it is {far} steps after the last known {spec.target!r} of its series; the model forecasts "
                f"{spec.horizon}",
            )
        chosen = (ahead >= 1) & (ahead <= spec.horizon)
        rows, slots, origin = asked[chosen], slots[chosen], origin[chosen]
        windows = Windows(slots, origin if spec.context else slots - 1)
        seen = see(table, panel, windows, target, spec, self.scale)
        made = self.predict(seen)
        for place, message in made.messages.items():
            bad.setdefault(int(rows[place]), message)
        gaps = int((ahead < 1).sum())
        # Rows that stand in history are read or not; only what was to be forecast is told as failed.
        return Forecast(rows, made.values, made.quantiles, bad, gaps, seen)

    def explain(self, seen: Seen, places: Sequence[int]) -> list[dict[str, Any]]:
        """Google's `Explanation` JSON of some windows' point forecasts: each column's part (`explain.shapley`),
        in the target's unit; the baseline is what the model says where it knows none of them but the series' anchor.

        Of a model that learned in logarithms the contributions are shares of the whole difference, as they were of that
        of the logarithms.
        """
        instances = seen.table.take(pa.array(places)).to_pylist()
        nothing = {"baselineOutputValue": 0.0, "instanceOutputValue": 0.0, "featureAttributions": {}}
        every = [
            member.model.explain_instances(instances)
            if member.model
            else [{"attributions": [nothing]}] * len(places)
            for member in self.point
        ]
        return [self._explained(seen, place, told) for place, *told in zip(places, *every, strict=True)]

    def _explained(self, seen: Seen, place: int, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The mean of what was told of each member of the point forecast."""
        parts = dict.fromkeys((self.spec.target, *self.columns), 0.0)
        ends = np.zeros(2)
        noise, at = 0.0, np.array([place, place])
        for member, one in zip(self.point, told, strict=True):
            [attribution] = one["attributions"]
            learned = np.array([attribution["baselineOutputValue"], attribution["instanceOutputValue"]])
            here = Seen(seen.table, seen.wishes, seen.sources, {member.frame: seen.anchors[member.frame][at]},
                        seen.size[at])  # fmt: skip
            back = self._back(here, member.frame, learned)
            whole = learned[1] - learned[0]
            factor = (back[1] - back[0]) / whole / len(told) if whole else 0.0
            for name, part in importance(seen.sources, attribution["featureAttributions"]).items():
                parts[name] = parts.get(name, 0.0) + float(part * factor)
            ends += back / len(told)
            noise += float(attribution.get("approximationError", 0.0)) / len(told)
        attributions = {
            "baselineOutputValue": float(ends[0]),
            "instanceOutputValue": float(ends[1]),
            "featureAttributions": parts,
            "outputIndex": [-1],
            "outputName": "value",
            "approximationError": noise,
        }
        return {"attributions": [attributions]}

    def save(self, directory: Path) -> None:
        """Writes `forecast.json`, and a folder for each member, into `directory`, which is made."""
        directory.mkdir(parents=True, exist_ok=True)
        members = []
        for number, member in enumerate(self.members):
            if member.model:
                member.model.save(directory / f"member-{number}")
            members.append(
                {"quantile": member.quantile, "frame": member.frame, "learned": member.model is not None}
            )
        told = {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "scale": asdict(self.scale),
            "members": members,
            "importance": self.importance,
        }
        (directory / "forecast.json").write_text(json.dumps(told, allow_nan=False))

    @classmethod
    def load(cls, directory: Path, threads: int = 1) -> ForecastModel:
        """Raises DataError: `directory` holds no model of this format."""
        try:
            told: Mapping[str, Any] = json.loads((directory / "forecast.json").read_text())
        except FileNotFoundError:
            raise DataError(f"{directory.name} holds no forecast.json") from None
        if told["format"] != FORMAT:
            raise DataError(f"forecast.json is not of the format {FORMAT}")
        members = [
            Member(
                one["quantile"],
                one["frame"],
                Model.load(directory / f"member-{number}", threads) if one["learned"] else None,
            )
            for number, one in enumerate(told["members"])
        ]
        return cls(
            ForecastSpec.from_json(told["spec"]),
            Scale(**told["scale"]),
            members,
            told["importance"],
        )


def _origins(panel: Panel, target: Floats) -> Ints:
    """By slot the last slot of its series that has a target; the one before its first where none has."""
    starts = np.unique(panel.start)
    known = np.where(np.isfinite(target), np.arange(len(target)), -1)
    last = np.maximum.reduceat(known, starts) if len(starts) else starts
    last = np.where(last < 0, starts - 1, last)
    return last[np.searchsorted(starts, panel.start)]
