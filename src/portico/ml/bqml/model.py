"""What every model type of BigQuery ML is: it is trained on a table, kept as files, and asked by functions.

A model type is a class below `Model`. It names its `TYPES`, declares its `OPTIONS` and has a method for each ML
function that it supports, marked by `@function`. `kinds` lists the classes.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import describing, tuning
from portico.ml.bqml.options import COMMON, Option, Options, pairs
from portico.ml.errors import DataError

Settings = dict[str, Any]
"""What STRUCT(… AS name) gave a function, by lower-case name."""


@dataclass(slots=True)
class Given:
    """What a model is trained on: the rows of its query, and of the named ones where AS (…) has several."""

    rows: pa.Table
    options: Options
    others: dict[str, pa.Table] = field(default_factory=dict)
    model_type: str = ""
    imported: bytes = b""  # of MODEL_PATH, where the model is not trained
    inputs: str = ""  # INPUT (…)
    outputs: str = ""  # OUTPUT (…)
    before: str = ""  # the folder of the model that WARM_START goes on with


@dataclass(slots=True)
class Run:
    """How a training went; ML.TRAINING_INFO and the API's trainingRuns say it."""

    started: float = field(default_factory=time.time)
    iterations: list[dict[str, Any]] = field(
        default_factory=list
    )  # loss, eval_loss, learning_rate, duration_ms, …
    warnings: list[str] = field(default_factory=list)
    _last: float = field(default_factory=time.monotonic)

    def step(
        self, loss: float | None, eval_loss: float | None = None, rate: float | None = None, **more: Any
    ) -> None:
        """Notes one iteration."""
        now = time.monotonic()
        self.iterations.append(
            {"loss": loss, "eval_loss": eval_loss, "learning_rate": rate, **more}
            | {"duration_ms": int((now - self._last) * 1000)}
        )
        self._last = now


@dataclass(frozen=True, slots=True)
class Function:
    """An ML function of a model type: how many tables it takes, and which settings."""

    name: str  # ML.PREDICT
    tables: tuple[int, int]  # at least, at most
    settings: dict[str, Option]


_Method = TypeVar("_Method", bound=Callable[..., pa.Table])


def function(name: str, tables: tuple[int, int] = (0, 0), **settings: Option) -> Callable[[_Method], _Method]:
    """Marks a method (self, tables, settings) → pa.Table as an ML function."""

    def mark(method: _Method) -> _Method:
        method.__dict__["_function"] = Function(name, tables, settings)
        return method

    return mark


class Model:
    """A trained model. What `state` holds is JSON, `arrays` are numpy's, `files` are a library's own bytes; no
    pickles."""

    TYPES: ClassVar[dict[str, str]] = {}  # MODEL_TYPE of SQL → modelType of the API
    OPTIONS: ClassVar[dict[str, Option]] = {}
    IMPORTS: ClassVar[bool] = False  # it is a stranger's file, which is opened in a process that may die
    FIRST: ClassVar[int] = 0  # the number of the first iteration
    TRANSFORMS: ClassVar[bool] = True  # CREATE MODEL may have TRANSFORM (…)
    NAMED: ClassVar[
        tuple[str, ...]
    ] = ()  # queries that AS (name AS (…)) may have; the first is the training data

    def __init__(self, model_type: str, options: Options) -> None:
        self.model_type = model_type
        self.options = options
        self.run = Run()
        self.state: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.trials: dict[int, Self] = {}  # the trials that are not the best, by their numbers
        self.folder: Path | None = None  # that it was read from
        self.before: Self | None = None  # the model that its training goes on with

    @classmethod
    def train(cls, given: Given) -> Self:
        """
        Raises:
            DataError: the rows or the options allow no such model.
        """
        model = cls(given.model_type, given.options)
        if given.options.get("tf_version"):
            model.run.warnings.append("Trained without TensorFlow, whatever TF_VERSION says.")
        if given.before:
            model.before = before = cls.load(Path(given.before))
            model.state["earlier"] = [*before.state.get("earlier", []), before.run.iterations]
        model.fit(given)
        if not cls.IMPORTS and given.rows.num_columns and not given.before:
            model.state["seen"] = describing.seen(given.rows)
        return model

    def fit(self, given: Given) -> None:
        raise NotImplementedError

    def ready(self) -> None:
        """Makes what the functions need of `state`, `arrays` and `files`, after training and after loading."""

    def inputs(self) -> list[dict[str, str]]:
        """The columns of a row that it predicts, with their Arrow types."""
        raise DataError(f"Models of type {self.model_type} predict no single rows")

    # --- files ---

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        run = {
            "started": self.run.started,
            "iterations": self.run.iterations,
            "warnings": self.run.warnings,
        }
        kept = {"type": self.model_type, "options": self.options, "run": run, "state": self.state}
        (folder / "model.json").write_text(json.dumps(kept, default=_plain))
        written = io.BytesIO()
        np.savez(written, **self.arrays)  # type: ignore[arg-type]
        (folder / "arrays.npz").write_bytes(written.getvalue())
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        for number, one in self.trials.items():
            one.save(folder / f"trial_{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        kept = json.loads((folder / "model.json").read_text())
        model = cls(kept["type"], kept["options"])
        model.run = Run(kept["run"]["started"], kept["run"]["iterations"], kept["run"]["warnings"])
        model.state = kept["state"]
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            model.arrays = dict(arrays)
        known = ("model.json", "arrays.npz")
        model.files = {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.is_file() and path.name not in known
        }
        model.folder = folder
        model.ready()
        return model

    def exported(self) -> dict[str, bytes]:
        """The model as files that others open, by their names.

        Raises:
            DataError: models of this type, or with such columns, can't be exported.
        """
        raise DataError(f"EXPORT MODEL is not supported for model type {self.model_type}")

    # --- functions ---

    @classmethod
    def functions(cls) -> dict[str, tuple[Function, str]]:
        """The ML functions of this model type and the methods that answer them, by name."""
        found = {}
        for name in dir(cls):
            marked = getattr(getattr(cls, name), "_function", None)
            if isinstance(marked, Function):
                found[marked.name] = (marked, name)
        return found

    def call(self, name: str, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """What `name` (ML.PREDICT) answers for these tables.

        Raises:
            DataError: this model type has no such function, or not with these arguments.
        """
        if "trials" in self.state:
            return tuning.answer(self, name, tables, dict(settings))
        if "trial_id" in settings or name == "ML.TRIAL_INFO":
            said = name if name == "ML.TRIAL_INFO" else "trial_id"
            raise DataError(f"{said} is only for a model that was trained with NUM_TRIALS")
        return self.answered(name, tables, settings)

    def answered(self, name: str, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """`call`, of this one trial."""
        known = self.functions()
        if name not in known:
            raise DataError(f"{name} is not supported for model type {self.model_type}")
        declared, method = known[name]
        low, high = declared.tables
        if not low <= len(tables) <= high:
            said = (
                "takes no table"
                if high == 0
                else "needs a table or a query"
                if not tables
                else "takes one table"
            )
            raise DataError(f"{name} {said} for model type {self.model_type}")
        read = {key: one.default for key, one in declared.settings.items()}
        for key, value in settings.items():
            if key not in declared.settings:
                raise DataError(f"{name} has no argument {key} for model type {self.model_type}")
            read[key] = declared.settings[key].read(key, value)
        answered: pa.Table = getattr(self, method)(tables, read)
        return answered

    @function("ML.TRAINING_INFO")
    def training_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """One row an iteration, the last first."""
        rows = self.iterations()
        numbers = {"loss": pa.float64(), "eval_loss": pa.float64(), "learning_rate": pa.float64()}
        return pa.table(
            {
                "training_run": pa.array([run for run, _, _ in rows], pa.int64()),
                "iteration": pa.array([number for _, number, _ in rows], pa.int64()),
            }
            | {
                name: pa.array([one[name] for _, _, one in rows], kind)
                for name, kind in {**numbers, "duration_ms": pa.int64()}.items()
            }
        )

    def iterations(self) -> list[tuple[int, int, dict[str, Any]]]:
        """The training run, the number in it and what was noted of each iteration, also of the runs that WARM_START
        went on with; the last first."""
        runs = [*self.state.get("earlier", []), self.run.iterations]
        rows = [
            (run, number, one)
            for run, noted in enumerate(runs)
            for number, one in enumerate(noted, self.FIRST)
        ]
        return rows[::-1]

    @function("ML.VALIDATE_DATA_SKEW", (1, 1), **describing.VALIDATING)
    def validate_data_skew(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """How far rows to predict are from those of training, an input a row."""
        if "earlier" in self.state:
            raise DataError(
                "ML.VALIDATE_DATA_SKEW is not supported for models that were trained with WARM_START"
            )
        if "seen" not in self.state:
            raise DataError(f"ML.VALIDATE_DATA_SKEW is not supported for model type {self.model_type}")
        return describing.skew(self.state["seen"], tables[0], settings)

    # --- what the API shows ---

    def described(self) -> dict[str, Any]:
        """featureColumns, labelColumns and trainingRuns of the API's Model."""
        results = [
            {
                "index": number,
                "durationMs": str(one["duration_ms"]),
                **({"trainingLoss": one["loss"]} if one["loss"] is not None else {}),
                **({"evalLoss": one["eval_loss"]} if one["eval_loss"] is not None else {}),
                **({"learnRate": one["learning_rate"]} if one["learning_rate"] is not None else {}),
            }
            for number, one in enumerate(self.run.iterations, self.FIRST)
        ]
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.run.started))
        run = {"startTime": started, "results": results, "trainingOptions": self._training_options()}
        return {"modelType": self.TYPES[self.model_type], "trainingRuns": [run]}

    def _training_options(self) -> dict[str, Any]:
        """Options under the API's names; those that are not set are left out."""
        shown: dict[str, Any] = {}
        for name, value in self.options.items():
            if name in COMMON or value is None or value == []:
                continue
            if name in ("learn_rate", "optimizer") and isinstance(value, dict):
                continue  # the API has one for the whole model
            if name == "class_weights":
                value = dict(pairs(name, value))
            head, *rest = _COLUMN.sub(r"_column\1", _RENAMED.get(name, name)).split("_")
            shown[head + "".join(one.title() for one in rest)] = _wired(value)
        return shown


_COLUMN = re.compile("_col(s?)$")
_RENAMED = {
    "l1_reg": "l1_regularization", "l2_reg": "l2_regularization",
    "min_rel_progress": "min_relative_progress", "optimize_strategy": "optimization_strategy",
    "learn_rate": "learn_rate", "ls_init_learn_rate": "initial_learn_rate", "class_weights": "label_class_weights",
    "kmeans_init_method": "kmeans_initialization_method", "kmeans_init_col": "kmeans_initialization_column",
}  # fmt: skip


def _wired(value: Any) -> Any:
    """Whole numbers are texts in the API's JSON."""
    if isinstance(value, list):
        return [_wired(one) for one in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not kept")
