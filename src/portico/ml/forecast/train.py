"""Trains one forecasting model of all series: windows, candidates, quantiles.

Each candidate is a search of the tables' learners over the windows' features, for the difference from a simple forecast
(its frame); those that forecast the validation rows best, by the objective, are the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml import arrays, values
from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.forecast.features import Scale, Seen, importance, scale_of, see
from portico.ml.forecast.hierarchy import Hierarchy, hierarchy_of
from portico.ml.forecast.model import MEDIAN, ForecastModel, Member, Predicted
from portico.ml.forecast.panel import Ints, Panel, read_panel
from portico.ml.forecast.spec import QUANTILE_LOSS, ForecastSpec
from portico.ml.forecast.windows import History, Windows, naive, thinned, windows_of
from portico.ml.learn import train as tables
from portico.ml.learn.objectives import loss_of
from portico.ml.learn.plan import Plan
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.split import Split, SplitSpec, split_rows
from portico.ml.learn.targets import Target, read_target
from portico.ml.pace import Progress

_VALUE, _WEIGHT, _SET = "@value", "@weight", "@set"
_MOST = {"training": 300_000, "validation": 60_000, "test": 200_000}  # windows: what some 100 MiB hold
_WORTH = 0.005  # of the loss, for another member
_LEARNED = {"minimize-mae": "minimize-mae", "minimize-wape-mae": "minimize-mae", "minimize-mape": "minimize-mae",
            QUANTILE_LOSS: QUANTILE_LOSS}  # fmt: skip


@dataclass(slots=True)
class Tested:
    """The test windows: `rows` of the table that are forecast, `origins` the times (seconds) from which; `times` those
    of the rows. `true`, `weights`, `naive` (n,); `messages` as of `predicted`."""

    rows: Ints
    times: Floats
    origins: Floats
    true: Floats
    weights: Floats
    predicted: Predicted
    naive: Floats
    naive_name: str
    hierarchy: Hierarchy | None


@dataclass(slots=True)
class TrainedForecast:
    """A model and what its training showed. `rows` counts the rows of each set, `windows` what was made of them.
    `leaderboard` lists every member that was tried, of the quantile models too. `plan` trains it again; the rest is as
    of `learn.train.TrainedModel`."""

    model: ForecastModel
    split: Split
    tested: Tested
    leaderboard: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    rows: dict[str, int]
    windows: dict[str, int]
    notes: list[str]
    seconds: float
    wall_seconds: float
    iterations: int
    cut_short: str
    dropped_learners: dict[str, str]
    versions: dict[str, str]
    plan: dict[str, Any]


@dataclass(slots=True)
class _Work:
    """What candidates learn from."""

    spec: ForecastSpec
    seen: Seen
    held: Floats  # (windows,) the target in the space that is learned in
    weights: Floats  # that make the loss of what is learned the objective
    even: Floats  # with which every series teaches as much as any other
    sets: pa.Array
    hierarchy: Hierarchy | None
    should_stop: Callable[[], bool]
    learned: list[tables.TrainedModel] = field(default_factory=list)


def train(
    table: pa.Table,
    spec: ForecastSpec,
    *,
    plan: Mapping[str, Any] | None = None,
    progress: Progress = lambda fraction, message: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedForecast:
    """Trains on `table` as `spec` says: by a search, or as the `plan` of one that has been.

    Raises:
        DataError: the data or the parameters cannot be used; `field` names the column or parameter.
        TrainingStopped: `should_stop()` was true.
    """
    spec.check()
    _check_columns(table, spec)
    panel = read_panel(table, spec, strict=True)
    asked = TrainSpec("regression", spec.target, weight_column=spec.weight_column)
    if spec.objective == "minimize-rmsle":
        asked.optimization_objective = spec.objective
    target = read_target(table, asked)
    split = _split(table, spec, panel, target)
    scale = scale_of(spec, target.cells[split.training], panel.time[panel.slot[split.training]])
    known = panel.of_slots(target.cells)
    parts = _windows(table, spec, panel, split)
    learns = parts["training"].joined(parts["validation"])
    seen = see(table, panel, learns, known, spec, scale)
    true = known[learns.target]
    given = np.nan_to_num(panel.of_slots(target.weights)[learns.target])
    exact, even = _weights(spec, true, seen.size, given)
    work = _Work(
        spec,
        seen,
        np.log1p(true) if scale.logs else true,
        exact,
        even,
        pa.array(["training"] * len(parts["training"]) + ["validation"] * len(parts["validation"])),
        hierarchy_of(table, panel, learns, spec, true, given),
        should_stop,
    )
    names = {key: len(part) for key, part in parts.items()}
    progress(0.02, f"{len(panel.names):,} series; {names['training']:,} windows train, "
             f"{names['validation']:,} choose, {names['test']:,} test")  # fmt: skip
    model, candidates, plans = _learn(work, scale, plan, progress)
    progress(0.97, "measuring on the test rows")
    tested = _test(table, spec, panel, parts["test"], known, target.weights, model)
    point = [member.model for member in model.point]
    rows = {key: len(getattr(split, key)) for key in ("training", "validation", "test")}
    return TrainedForecast(
        model,
        split,
        tested,
        [entry for one in work.learned for entry in one.leaderboard],
        candidates,
        {**rows, "withoutTarget": target.dropped, "withoutSplit": split.ignored},
        {**names, "series": len(panel.names)},
        _notes(spec, panel, table),
        sum(one.seconds for one in work.learned),
        sum(one.wall_seconds for one in work.learned),
        sum(one.iterations for one in work.learned),
        next((one.cut_short for one in work.learned if one.cut_short and one.model in point), ""),
        {name: why for one in work.learned for name, why in one.dropped_learners.items()},
        tables.versions(),
        plans,
    )


def _check_columns(table: pa.Table, spec: ForecastSpec) -> None:
    roles = spec.covariates
    wanted = [
        spec.target,
        spec.time,
        spec.series,
        *roles["available"],
        *roles["unavailable"],
        *roles["attribute"],
    ]
    for name in (*wanted, spec.weight_column, spec.window_column):
        if name and name not in table.column_names:
            raise DataError(f"the data have no column {name!r}", field=name)


def _split(table: pa.Table, spec: ForecastSpec, panel: Panel, target: Target) -> Split:
    """Google's splits: by default, and with fractions, the first steps train and the last test."""
    rows = target.rows[panel.slot[target.rows] >= 0]
    asked, wish = spec.split, spec.wish(spec.split.column)
    if asked.kind == "timestamp":
        asked = replace(asked, time_format=wish.time_format)
    elif asked.kind != "predefined":
        times = panel.time[np.maximum(panel.slot, 0)]
        stamps = pa.array((times * 1e6).astype(np.int64), pa.int64()).cast(pa.timestamp("us", "UTC"))
        table = pa.table({spec.time: stamps})
        asked = SplitSpec("timestamp", spec.time, asked.training, asked.validation, asked.test)
    split = split_rows(table, asked, rows)
    if not len(split.validation):  # the last tenth of what trains
        order = split.training[np.argsort(panel.time[panel.slot[split.training]], kind="stable")]
        cut = len(order) - max(len(order) // 10, min(2, len(order) // 2))
        split = replace(split, training=order[:cut], validation=order[cut:])
    if not len(split.training):
        raise DataError("no row is left to train on", field="trainingFraction")
    return split


def _windows(table: pa.Table, spec: ForecastSpec, panel: Panel, split: Split) -> dict[str, Windows]:
    made = {
        name: windows_of(panel, np.sort(panel.slot[getattr(split, name)]), spec)
        for name in ("training", "validation", "test")
    }
    chosen = made["training"]
    if spec.stride > 1:
        chosen = chosen.take((chosen.origin + 1 - panel.start[chosen.target]) % spec.stride == 0)
    if spec.window_column:
        begins = _true(table, spec.window_column)
        rows = panel.row[np.minimum(chosen.origin + 1, len(panel.row) - 1)]
        chosen = chosen.take((rows >= 0) & begins[np.maximum(rows, 0)])
    if spec.most_windows:
        chosen = thinned(chosen, spec.most_windows, spec.seed, whole=True)
    made["training"] = chosen
    for name, most in _MOST.items():
        made[name] = thinned(made[name], most, spec.seed, whole=False)
    for name in ("training", "validation"):
        if not len(made[name]):
            raise DataError(
                f"there is no window to {'train' if name == 'training' else 'choose'} by: no series has a known row "
                f"before its {name} rows"
                + (", or none that windowConfig takes" if name == "training" else ""),
                field=spec.window_column or spec.time,
            )
    return made


def _true(table: pa.Table, name: str) -> Any:
    codes, cells = arrays.factorize(table[name])
    said = [values.category(cell) if not values.is_missing(cell) else None for cell in cells]
    strange = [word for word in said if word not in (None, "true", "false", "True", "False", "TRUE", "FALSE")]
    if strange:
        raise DataError(
            f"the window column {name!r} must hold true and false; it holds {strange[0]!r}", field=name
        )
    return np.array([str(word).lower() == "true" for word in said], bool)[codes]


def _weights(spec: ForecastSpec, true: Floats, size: Floats, given: Floats) -> tuple[Floats, Floats]:
    """Of each window, so that the loss of what is learned (in units of `size`) is the objective; and so that series of
    all sizes teach the same. At most 10,000.

    The objective alone would let the largest series teach and waste what the others show of the same shape.
    """
    objective = spec.objective
    even = np.ones(len(true))
    factor = size if _LEARNED.get(objective) else size**2
    if objective in ("minimize-mape", "minimize-rmspe"):
        with np.errstate(divide="ignore"):
            part = np.where(true != 0, 1.0 / np.abs(true), 0.0)
        even = factor = factor * (part if objective == "minimize-mape" else part**2)
        if not factor.any():
            raise DataError(
                f"{objective} needs values other than 0 in {spec.target!r}", field="optimizationObjective"
            )
    elif objective == "minimize-rmsle":
        factor = even
    exact, even = factor * given, even * given
    return exact / exact.max() * 10_000, even / even.max() * 10_000


@dataclass(slots=True)
class _Candidate:
    """`exact` says that it learned with the objective's own weights; `made` is None of a simple forecast, which learns
    nothing. `rested` are the windows that validate, and `output` what is said of them, in units of the series' size."""

    quantile: str
    frame: str
    exact: bool
    made: tables.TrainedModel | None
    rested: Ints
    output: Floats

    def to_json(self, loss: float, chosen: bool) -> dict[str, Any]:
        by = "the objective" if self.exact else "even"
        return {
            "frame": self.frame,
            "learned": self.made is not None,
            "weights": by,
            "validationLoss": loss,
            "chosen": chosen,
        }


@dataclass(slots=True)
class _Training:
    """Learns candidates, `count` of them in all."""

    work: _Work
    count: int
    progress: Progress
    done: int = 0

    def learned(self, quantile: str, frame: str, exact: bool, plan: Plan | None = None) -> _Candidate:
        work, spec, seen = self.work, self.work.spec, self.work.seen
        value = (work.held - seen.anchors[frame]) / seen.size
        weights = work.weights if exact else work.even
        rows = seen.table.append_column(_VALUE, pa.array(value)).append_column(_WEIGHT, pa.array(weights))
        asked = TrainSpec(
            "regression",
            _VALUE,
            columns=seen.wishes,
            optimization_objective=QUANTILE_LOSS
            if quantile
            else _LEARNED.get(spec.objective, "minimize-rmse"),
            weight_column=_WEIGHT,
            split=SplitSpec("predefined", _SET),
            budget_seconds=spec.budget_seconds / self.count,
            seed=spec.seed,
            threads=spec.threads,
            quantile=float(quantile) if quantile else None,
        )

        def tell(fraction: float, message: Any) -> None:
            named = f"{quantile or 'forecast'} by {frame}"
            self.progress(0.02 + 0.95 * (self.done + fraction) / self.count, f"{named}: {message}")

        made = tables.train(
            rows.append_column(_SET, work.sets), asked, plan=plan, progress=tell, should_stop=work.should_stop
        )
        self.done += 1
        work.learned.append(made)
        for entry in made.leaderboard:
            entry |= {"frame": frame, **({"quantile": float(quantile)} if quantile else {})}
        rested = made.split.validation
        output = made.validation_output + seen.anchors[frame][rested] / seen.size[rested]
        return _Candidate(quantile, frame, exact, made, rested, output)

    def simple(self, quantile: str, frame: str) -> _Candidate:
        """The frame itself as a forecast."""
        work, seen = self.work, self.work.seen
        rested = np.flatnonzero((np.asarray(work.sets) == "validation") & (work.even > 0))
        return _Candidate(
            quantile, frame, False, None, rested, seen.anchors[frame][rested] / seen.size[rested]
        )

    def loss(self, candidates: Sequence[_Candidate]) -> float:
        """Of their mean, by the objective, in units of the series' size; where sums count, in the target's."""
        work, one = self.work, candidates[0]
        mean = np.mean([each.output for each in candidates], axis=0)
        if work.hierarchy:
            said = mean * work.seen.size[one.rested]
            said = np.expm1(said) if work.spec.objective == "minimize-rmsle" else said
            return work.hierarchy.loss(said, one.rested, float(one.quantile) if one.quantile else None)
        objective = QUANTILE_LOSS if one.quantile else _LEARNED.get(work.spec.objective, "minimize-rmse")
        asked = TrainSpec("regression", _VALUE, quantile=float(one.quantile) if one.quantile else None)
        true = work.held[one.rested] / work.seen.size[one.rested]
        return loss_of(objective, asked)(true, mean, work.weights[one.rested])


def _learn(
    work: _Work, scale: Scale, plan: Mapping[str, Any] | None, progress: Progress
) -> tuple[ForecastModel, list[dict[str, Any]], dict[str, Any]]:
    """The point forecast, or the median, in each frame, and in the best also with the objective's own weights; kept is
    the best, with those whose mean with it is better still. The other quantiles are learned as the best is."""
    spec = work.spec
    first = str(MEDIAN) if spec.objective == QUANTILE_LOSS else ""
    further = [str(quantile) for quantile in sorted(spec.quantiles) if str(quantile) != first]
    differ = not np.allclose(work.weights / work.weights.mean(), work.even / work.even.mean())
    if plan:
        training = _Training(work, len(plan["members"]), progress)
        members = [
            training.learned(one["quantile"], one["frame"], one["exact"], Plan.from_json(one["plan"]))
            if one["plan"]
            else training.simple(one["quantile"], one["frame"])
            for one in plan["members"]
        ]
        found = chosen = [one for one in members if one.quantile == first]
    else:
        frames = list(work.seen.anchors)
        training = _Training(work, len(frames) + len(further) + differ, progress)
        found = _in_frames(training, first, frames, not differ)
        best = min(found, key=lambda one: training.loss([one]))
        if differ:
            found.append(training.learned(first, best.frame, True))
        found += [training.simple(first, frame) for frame in frames if spec.context]
        chosen = _best(training, found)
        rest = [training.learned(name, best.frame, best.exact) for name in further]
        members = [*chosen, *rest]
    shares: dict[str, float] = {}
    for one in chosen:
        of_features = one.made.feature_importance if one.made else {}
        for name, share in importance(work.seen.sources, of_features).items():
            shares[name] = shares.get(name, 0.0) + share
    total = sum(shares.values())
    shares = {name: share / total for name, share in shares.items()} if total else {spec.target: 1.0}
    told = sorted((training.loss([one]), number) for number, one in enumerate(found))
    return (
        ForecastModel(
            spec,
            scale,
            [Member(one.quantile, one.frame, one.made.model if one.made else None) for one in members],
            shares,
        ),
        [found[number].to_json(loss, found[number] in chosen) for loss, number in told],
        {
            "members": [
                {
                    "quantile": one.quantile,
                    "frame": one.frame,
                    "exact": one.exact,
                    "plan": one.made and one.made.plan.to_json(),
                }
                for one in members
            ]
        },
    )


def _in_frames(training: _Training, first: str, frames: Sequence[str], exact: bool) -> list[_Candidate]:
    """Raises DataError: nothing can be learned in any frame."""
    found: list[_Candidate] = []
    failures: list[DataError] = []
    for frame in frames:
        try:
            found.append(training.learned(first, frame, exact))
        except DataError as failed:
            failures.append(failed)
    if found:
        return found
    spec, why = training.work.spec, failures[0]
    raise DataError(
        why.message.replace(_VALUE, spec.target).replace(_WEIGHT, spec.weight_column),
        field=spec.target if why.field == _VALUE else why.field,
    )


def _best(training: _Training, found: Sequence[_Candidate]) -> list[_Candidate]:
    """The best candidate, of equals one that learns nothing, and greedily those whose mean with the ones before is
    better (the best first)."""
    ranked = sorted(found, key=lambda one: (training.loss([one]), one.made is not None))
    chosen = ranked[:1]
    loss = training.loss(chosen)
    for one in ranked[1:]:
        if (together := training.loss([*chosen, one])) < (1 - _WORTH) * loss:
            chosen, loss = [*chosen, one], together
    return chosen


def _test(
    table: pa.Table, spec: ForecastSpec, panel: Panel, windows: Windows, known: Floats, weights: Floats,
    model: ForecastModel,
) -> Tested:  # fmt: skip
    seen = see(table, panel, windows, known, spec, model.scale)
    baseline, name = naive(panel, windows, spec, History(panel, known))
    rows = panel.row[windows.target]
    return Tested(
        rows,
        panel.time[windows.target],
        panel.time[np.maximum(windows.origin, 0)],
        known[windows.target],
        weights[rows],
        model.predict(seen),
        np.where(np.isfinite(baseline), baseline, float(np.mean(known[np.isfinite(known)]))),
        name,
        hierarchy_of(table, panel, windows, spec, known[windows.target], weights[rows]),
    )


def _notes(spec: ForecastSpec, panel: Panel, table: pa.Table) -> list[str]:
    """What was done that the caller may not expect, in words."""
    notes = []
    gaps = int((panel.row < 0).sum())
    if gaps:
        notes.append(
            f"{gaps:,} steps between rows have none; they count as steps whose values are not known."
        )
    if panel.replaced:
        notes.append(
            f"{panel.replaced:,} rows stand for the same step of a series as a later row, which counts."
        )
    known, unknown = spec.known_regions
    if unknown:
        notes.append(
            f"The holidays of {', '.join(unknown)} are not known here and were not used"
            + (f"; those of {', '.join(known)} were." if known else "; US and GLOBAL are known.")
        )
    roles = [name for names in (spec.available, spec.unavailable, spec.attributes) for name in names]
    own = {
        spec.target,
        spec.time,
        spec.series,
        spec.weight_column,
        spec.window_column,
        spec.split.column,
        *roles,
    }
    unused = [one.name for one in spec.columns if one.name not in own]
    if unused:
        notes.append(
            f"No role was given to {', '.join(unused)}: columns are learned from that are named as available or "
            "unavailable at forecast, or as attributes."
        )
    if not spec.context:
        notes.append(
            "contextWindow is 0: the model does not look at a series' past, but at its name, the calendar and what is "
            "available at forecast."
            + (" Columns unavailable at forecast were not used." if spec.covariates["unavailable"] else "")
        )
    return notes
