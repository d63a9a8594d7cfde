"""Which trials a study tries next.

A suggestion is a pure function of the study's name, its spec and its trials: nothing is kept between two of them. The
first is the space's defaults, or its middle. ALGORITHM_UNSPECIFIED is Optuna's TPE over all parameters together, also
for several metrics, which counts trials under way as bad ones so that others are tried beside them; its first
suggestions are random. GRID_SEARCH enumerates.
"""

from __future__ import annotations

import random
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from portico.services.aiplatform.vizier import measurements, space
from portico.services.aiplatform.vizier.space import Spec, Value

if TYPE_CHECKING:
    import optuna

_RANDOM = 5  # trials that end before anything is learnt from them

Parameters = list[dict[str, Any]]


def suggest(
    name: str,
    spec: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    number: int,
    fixed: Mapping[str, Any] | None = None,
) -> Parameters | None:
    """The parameters of the next trial of the study `name`, which will have the id `number`; None where a grid has no
    more. `trials` are those that there are, `fixed` values that it shall have.
    """
    specs, fixed = spec["parameters"], fixed or {}
    algorithm = spec.get("algorithm")
    if algorithm == "GRID_SEARCH":
        made = _next_of_grid(specs, trials, fixed)
        return None if made is None else space.shown(made)
    chance = random.Random(zlib.crc32(f"{name}/{number}".encode()))
    if not trials and not fixed:
        return space.shown(space.walk(specs, lambda _, one: space.first(one)))
    if algorithm == "RANDOM_SEARCH" or sum(one["state"] == "SUCCEEDED" for one in trials) < _RANDOM:
        return space.shown(_random(specs, chance, fixed))
    return space.shown(_learnt(spec, trials, chance.getrandbits(32), fixed))


def _next_of_grid(
    specs: Sequence[Spec], trials: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any]
) -> list[tuple[str, Value]] | None:
    there = {
        tuple((one["parameterId"], one["value"]) for one in trial.get("parameters") or []) for trial in trials
    }
    return next((values for values in space.grid(specs, fixed) if tuple(values) not in there), None)


def _random(
    specs: Sequence[Spec], chance: random.Random, fixed: Mapping[str, Any]
) -> list[tuple[str, Value]]:
    def choose(path: str, spec: Spec) -> Value:
        if spec["parameterId"] in fixed:
            return space.value_in(spec, fixed[spec["parameterId"]], "contexts")
        if space.kind_of(spec) in ("categorical", "discrete"):
            return chance.choice(space.values_of(spec))
        return space.at(spec, chance.random())

    return space.walk(specs, choose)


def _learnt(
    spec: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], seed: int, fixed: Mapping[str, Any]
) -> list[tuple[str, Value]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=1
        )
        study = optuna.create_study(
            sampler=sampler, directions=[metric["goal"].lower() for metric in spec["metrics"]]
        )
    study.add_trials([_past(spec, trial) for trial in trials if trial["state"] != "INFEASIBLE"])
    asked = study.ask()

    def choose(path: str, one: Spec) -> Value:
        if one["parameterId"] in fixed:
            return space.value_in(one, fixed[one["parameterId"]], "contexts")
        kind = space.kind_of(one)
        if kind == "categorical":
            return str(asked.suggest_categorical(path, list(space.values_of(one))))
        if kind == "discrete":
            values = space.values_of(one)
            return values[int(asked.suggest_int(path, 0, len(values) - 1))]
        return space.at(one, asked.suggest_float(path, 0.0, 1.0))

    return space.walk(spec["parameters"], choose)


def _past(spec: Mapping[str, Any], trial: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
    """A trial as Optuna has it: numbers as places on their scale, so that all scales are even."""
    import optuna

    told = {one["parameterId"]: one["value"] for one in trial["parameters"]}
    params: dict[str, Any] = {}
    spaces: dict[str, optuna.distributions.BaseDistribution] = {}

    def choose(path: str, one: Spec) -> Value:
        value: Value = told[one["parameterId"]]
        kind = space.kind_of(one)
        if kind == "categorical":
            params[path] = value
            spaces[path] = optuna.distributions.CategoricalDistribution(list(space.values_of(one)))
        elif kind == "discrete":
            values = list(space.values_of(one))
            params[path] = values.index(value)
            spaces[path] = optuna.distributions.IntDistribution(0, len(values) - 1)
        else:
            params[path] = min(max(space.place(one, float(value)), 0.0), 1.0)
            spaces[path] = optuna.distributions.FloatDistribution(0.0, 1.0)
        return value

    space.walk(spec["parameters"], choose)
    done = trial["state"] == "SUCCEEDED"
    values = [
        measurements.reckoned(measurements.value(trial["finalMeasurement"], metric["metricId"]) or 0.0)
        for metric in spec["metrics"]
    ] if done else None  # fmt: skip
    state = optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.RUNNING
    return optuna.trial.create_trial(state=state, values=values, params=params, distributions=spaces)
