"""NUM_TRIALS: a model is trained again and again with other hyperparameters, and the best one is it.

What is searched are the options that are given as HPARAM_RANGE or HPARAM_CANDIDATES; where none is, those that have a
default range and are not given. Trials run one after another. VIZIER_DEFAULT is Optuna's tree-structured Parzen
estimator (Bergstra et al. 2011). (https://cloud.google.com/bigquery/docs/hp-tuning-overview)
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from portico.ml.bqml.options import Option, Options, Search
from portico.ml.errors import DataError

if TYPE_CHECKING:
    from portico.ml.bqml.model import Model

_SEED = 20_240_101
_OF_ALL = (
    "ML.EVALUATE", "ML.CONFUSION_MATRIX", "ML.ROC_CURVE", "ML.TRAINING_INFO", "ML.WEIGHTS", "ML.ADVANCED_WEIGHTS",
    "ML.FEATURE_IMPORTANCE", "ML.GLOBAL_EXPLAIN",
)  # fmt: skip
_ONCE = ("ML.FEATURE_INFO", "ML.TRIAL_INFO")
Chosen = dict[str, Any]


def objective(options: Options, known: tuple[str, ...], default: str) -> str:
    """HPARAM_TUNING_OBJECTIVES: one of the columns of ML.EVALUATE.

    Raises:
        DataError: it is none of them.
    """
    asked = options["hparam_tuning_objectives"] or [default]
    if len(asked) != 1 or asked[0].lower() not in known:
        raise DataError(f"HPARAM_TUNING_OBJECTIVES must be one of {', '.join(one.upper() for one in known)}")
    return str(asked[0].lower())


def search(model: Model, objective: str, maximized: bool, learn: Callable[[Model], float | None]) -> None:
    """Trains NUM_TRIALS models of `model`'s type, and makes the best of them `model`.

    Args:
        objective: what is compared, as ML.EVALUATE names it.
        learn: trains a model with its options, and returns its objective on the rows that it is compared on.

    Raises:
        DataError: nothing can be searched, or no trial succeeded.
    """
    options = model.options
    spaces = {name: value for name, value in options.items() if isinstance(value, Search)}
    if not spaces:
        raise DataError("NUM_TRIALS needs an option given as HPARAM_RANGE or HPARAM_CANDIDATES")
    if int(options["max_parallel_trials"]) > 1:
        model.run.warnings.append("MAX_PARALLEL_TRIALS: trials run one after another.")
    told: list[dict[str, Any]] = []
    trials: dict[int, Model] = {}
    strategy = _grid if options["hparam_tuning_algorithm"] == "GRID_SEARCH" else _sampled
    suggested = strategy(model.OPTIONS, spaces, options, maximized)
    chosen = next(suggested)
    while True:
        number = len(told) + 1
        one = type(model)(model.model_type, options | chosen)
        one.state = dict(model.state)
        row: dict[str, Any] = {"trial_id": number, "hyperparameters": chosen, "status": "SUCCEEDED"}
        row |= {"error_message": None, "value": None, "started": time.time()}
        try:
            row["value"] = learn(one)
            if row["value"] is None:
                row |= {"status": "FAILED", "error_message": f"There is no {objective} of its predictions"}
        except DataError as error:
            row |= {"status": "INFEASIBLE", "error_message": error.message}
        row["ended"] = time.time()
        steps = one.run.iterations
        row["training_loss"] = steps[-1]["loss"] if steps else None
        row["eval_loss"] = steps[-1]["eval_loss"] if steps else None
        told.append(row)
        if row["status"] == "SUCCEEDED":
            trials[number] = one
        try:
            chosen = suggested.send(row["value"])
        except StopIteration:
            break
    if not trials:
        raise DataError(f"No trial succeeded; the first said: {told[0]['error_message']}")
    best = max(trials, key=lambda number: told[number - 1]["value"] * (1 if maximized else -1))
    _become(model, trials.pop(best))
    model.trials = trials
    model.state |= {
        "trials": told,
        "best": best,
        "objective": objective,
        "spaces": {name: _space(model.OPTIONS[name], space) for name, space in spaces.items()},
    }


def _become(model: Model, best: Model) -> None:
    model.options, model.state, model.arrays, model.files = best.options, best.state, best.arrays, best.files
    best.run.warnings = model.run.warnings + best.run.warnings
    model.run = best.run
    model.ready()


def _grid(
    _declared: dict[str, Option], spaces: dict[str, Search], options: Options, _maximized: bool
) -> Generator[Chosen, float | None]:
    if ranged := [name.upper() for name, one in spaces.items() if not one.candidates]:
        raise DataError(f"GRID_SEARCH needs HPARAM_CANDIDATES, and {ranged[0]} is a range")
    together = itertools.product(*(one.candidates for one in spaces.values()))
    for values in itertools.islice(together, int(options["num_trials"])):
        yield dict(zip(spaces, values, strict=True))


def _sampled(
    declared: dict[str, Option], spaces: dict[str, Search], options: Options, maximized: bool
) -> Generator[Chosen, float | None]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        random = options["hparam_tuning_algorithm"] == "RANDOM_SEARCH"
        sampler = (optuna.samplers.RandomSampler if random else optuna.samplers.TPESampler)(seed=_SEED)
        study = optuna.create_study(direction="maximize" if maximized else "minimize", sampler=sampler)
    for _ in range(int(options["num_trials"])):
        trial = study.ask()
        value = yield {name: _drawn(trial, name, declared[name], space) for name, space in spaces.items()}
        study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)


def _drawn(trial: Any, name: str, option: Option, space: Search) -> Any:
    if space.candidates:
        return space.candidates[trial.suggest_categorical(name, list(range(len(space.candidates))))]
    low, high = float(space.low or 0), float(space.high or 0)
    if option.kind == "int":
        return trial.suggest_int(name, int(low), int(high), log=option.log and low >= 1)
    if option.log:  # (0, high] has no least number on this scale
        return trial.suggest_float(name, max(low, high * 1e-6), high, log=True)
    return trial.suggest_float(name, low, high)


def answer(model: Model, name: str, tables: list[pa.Table], settings: dict[str, Any]) -> pa.Table:
    """What an ML function says of a model with trials, with trial_id as its first column: of the trial that it is asked
    of by `trial_id`; without, and without a table, of all where it tells of models; else of the best.

    Raises:
        DataError: there is no such trial.
    """
    asked = settings.pop("trial_id", None)
    if name == "ML.TRIAL_INFO":
        return trial_info(model)
    if name in _ONCE:
        return model.answered(name, tables, settings)
    best = int(model.state["best"])
    numbers = [best if asked is None else asked]
    if asked is None and not tables and name in _OF_ALL:
        numbers = [one["trial_id"] for one in model.state["trials"] if one["status"] == "SUCCEEDED"]
    found = []
    for number in numbers:
        table = chosen(model, number).answered(name, tables, settings)
        found.append(table.add_column(0, "trial_id", pa.array([number] * len(table), pa.int64())))
    return pa.concat_tables(found)


def chosen(model: Model, number: int | None) -> Model:
    """The trial of that number; the best of None, as it is of a model that was trained once.

    Raises:
        DataError: there is no such trial.
    """
    if number is None or number == model.state.get("best"):
        return model
    if "trials" not in model.state:
        raise DataError("trial_id is only for a model that was trained with NUM_TRIALS")
    return _trial(model, number)


def _trial(model: Model, number: Any) -> Model:
    """A trial that is not the best; it is read when it is asked for."""
    if number not in model.trials:
        known = [one["trial_id"] for one in model.state["trials"] if one["status"] == "SUCCEEDED"]
        if number not in known or model.folder is None:
            raise DataError(f"trial_id is {number!r}; trials {', '.join(map(str, known))} succeeded")
        model.trials[number] = model.load(model.folder / f"trial_{number}")
    return model.trials[number]


def trial_info(model: Model) -> pa.Table:
    """ML.TRIAL_INFO: a row a trial."""
    rows, objective = model.state["trials"], model.state["objective"]
    kinds = {"int": pa.int64(), "float": pa.float64(), "str": pa.string(), "any": pa.list_(pa.int64())}
    fields = [(name, kinds[model.OPTIONS[name].kind]) for name in model.state["spaces"]]
    return pa.table(
        {
            "trial_id": pa.array([one["trial_id"] for one in rows], pa.int64()),
            "hyperparameters": pa.array([one["hyperparameters"] for one in rows], pa.struct(fields)),
            "hparam_tuning_evaluation_metrics": pa.array(
                [{objective: one["value"]} for one in rows], pa.struct([(objective, pa.float64())])
            ),
            "training_loss": pa.array([one["training_loss"] for one in rows], pa.float64()),
            "eval_loss": pa.array([one["eval_loss"] for one in rows], pa.float64()),
            "status": pa.array([one["status"] for one in rows], pa.string()),
            "error_message": pa.array([one["error_message"] for one in rows], pa.string()),
            "is_optimal": pa.array([one["trial_id"] == model.state["best"] for one in rows], pa.bool_()),
        }
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(one.title() for one in rest)


def _space(option: Option, space: Search) -> dict[str, Any]:
    """An option's space as the API shows it."""
    if option.kind == "any":
        return {"candidates": [{"elements": [str(one) for one in each]} for each in space.candidates]}
    if option.kind == "str":
        return {"candidates": list(space.candidates)}

    def shown(value: Any) -> Any:
        return str(int(value)) if option.kind == "int" else value

    if space.candidates:
        return {"candidates": {"candidates": [shown(one) for one in space.candidates]}}
    return {"range": {"min": shown(space.low), "max": shown(space.high)}}


def described(model: Model, shown: dict[str, Any], metrics: Callable[[str, float], dict[str, Any]]) -> None:
    """Puts the trials into the API's Model.

    Args:
        metrics: one measure as the API's evaluationMetrics.
    """
    state, best = model.state, int(model.state["best"])
    runs: dict[int, dict[str, Any]] = {best: shown["trainingRuns"][0]}
    shown["hparamTrials"] = []
    for one in state["trials"]:
        number = one["trial_id"]
        told: dict[str, Any] = {
            "trialId": str(number),
            "status": one["status"],
            "startTimeMs": str(int(one["started"] * 1000)),
            "endTimeMs": str(int(one["ended"] * 1000)),
        }
        if one["status"] == "SUCCEEDED":
            if number != best:
                runs[number] = _trial(model, number).described()["trainingRuns"][0]
            told["hparams"] = runs[number]["trainingOptions"]
            told["evaluationMetrics"] = runs[number]["evaluationMetrics"]
            told["hparamTuningEvaluationMetrics"] = metrics(state["objective"], one["value"])
            losses = (("trainingLoss", one["training_loss"]), ("evalLoss", one["eval_loss"]))
            told |= {name: loss for name, loss in losses if loss is not None}
        else:
            told["errorMessage"] = one["error_message"]
        shown["hparamTrials"].append(told)
    shown["trainingRuns"] = [runs[number] for number in sorted(runs)]
    shown["hparamSearchSpaces"] = {_camel(name): space for name, space in state["spaces"].items()}
    shown |= {"optimalTrialIds": [str(best)], "defaultTrialId": str(best)}
