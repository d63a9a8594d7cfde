"""BOOSTED_TREE and RANDOM_FOREST models, by XGBoost."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import booster_file
from portico.ml.bqml.columns import DUMMY, LABEL, ONE_HOT, TARGET, Matrix
from portico.ml.bqml.labels import Numbers
from portico.ml.bqml.model import Settings, function
from portico.ml.bqml.options import CLASSES, COMMON, PENALTY, STEPS, SUPERVISED, TUNING, Option, Search
from portico.ml.bqml.supervised import Rows, Supervised
from portico.ml.errors import DataError

_FILE = "booster.ubj"
_SHAPLEY = 2e10  # steps that the explanation of a whole model may take


def _share(default: float, search: Search | None = None) -> Option:
    return Option("float", default, low=0, high=1, tuned=True, search=search)


_BOTH = {
    "approx_global_feature_contrib": Option("bool", False),
    "category_encoding_method": Option("str", LABEL, (ONE_HOT, DUMMY, TARGET, LABEL)),
    "l1_reg": PENALTY,
    "l2_reg": replace(PENALTY, default=1.0),
    "tree_method": Option("str", "AUTO", ("AUTO", "EXACT", "APPROX", "HIST"), tuned=True),
    "min_tree_child_weight": Option("int", 1, low=0, tuned=True),
    "colsample_bytree": _share(1.0),
    "colsample_bylevel": _share(1.0),
    "min_split_loss": Option("float", 0.0, low=0, tuned=True),
    "xgboost_version": Option("str", "0.9", ("0.9", "1.1", "2.1")),
}
_BOOSTED = {
    "booster_type": Option("str", "GBTREE", ("GBTREE", "DART"), tuned=True),
    "dart_normalize_type": Option("str", "TREE", ("TREE", "FOREST"), tuned=True),
    "num_parallel_tree": Option("int", 1, low=1, tuned=True),
    "max_tree_depth": Option("int", 6, low=1, tuned=True, search=Search(1, 10)),
    "dropout": _share(0.0),
    "learn_rate": Option("float", 0.3, low=0, tuned=True, search=Search(0.0, 1.0)),
    "colsample_bynode": _share(1.0),
    "subsample": _share(1.0, Search(0.01, 1.0)),
}
_FOREST = {
    "num_parallel_tree": Option("int", 100, low=2, tuned=True, search=Search(2, 200)),
    "max_tree_depth": Option("int", 15, low=1, tuned=True, search=Search(1, 20)),
    "colsample_bynode": _share(0.8),
    "subsample": _share(0.8, Search(0.01, 0.99)),
    "early_stop": STEPS["early_stop"],  # of its one round, neither changes anything
    "min_rel_progress": STEPS["min_rel_progress"],
}


class _Trees(Supervised):
    """Categories are places in the list of them, missing numbers the mean; a category that was not seen is missing.
    The loss is the root of the mean squared error, or the log loss."""

    ENCODING: ClassVar[str] = LABEL
    STANDARDIZES: ClassVar[bool] = False
    EXACT: ClassVar[bool] = True
    ONE_SIDED: ClassVar[bool] = True
    FLOATS: ClassVar[type[np.floating[Any]]] = np.float32
    EXPLAINS: ClassVar[str] = "approx_feature_contrib"
    ROUNDS: ClassVar[bool] = True  # that trees are added round by round
    FIRST: ClassVar[int] = 1

    def ready(self) -> None:
        import xgboost  # with scikit-learn and pandas, for which a process that serves another kind has no use

        super().ready()
        self.booster = xgboost.Booster()
        self.booster.load_model(bytearray(self.files[_FILE]))

    def exported(self) -> dict[str, bytes]:
        """BigQuery's own files, for XGBoost and for Google's reader of them."""
        booster = bytes(self.booster.save_raw("json"))
        classes = self.classes if self.classifies else []
        return booster_file.files(booster, self.encoder, self.encoding, self.model_type, self.label, classes)

    def learn(self, train: Rows, evaluate: Rows | None) -> None:
        import xgboost

        if self.options["approx_global_feature_contrib"] and not self.options["enable_global_explain"]:
            raise DataError("APPROX_GLOBAL_FEATURE_CONTRIB needs ENABLE_GLOBAL_EXPLAIN = TRUE")
        settings = self._settings()
        data = self._data(train)
        watched = [(data, "train")]
        if evaluate is not None:
            watched.append((self._data(evaluate, data), "eval"))
        rounds = int(self.options["max_iterations"]) if self.ROUNDS else 1
        try:
            booster = xgboost.train(
                settings, data, rounds, evals=watched, callbacks=[_steps(self)], verbose_eval=False
            )
        except xgboost.core.XGBoostError as error:
            raise DataError(f"XGBoost can't learn from this: {_brief(error)}") from None
        self.files[_FILE] = bytes(booster.save_raw("ubj"))
        self.run.warnings.append(f"Trained by XGBoost {xgboost.__version__}, whatever XGBOOST_VERSION says.")

    def _data(self, rows: Rows, like: Any = None) -> Any:
        import xgboost

        weights = None if (rows.weights == 1).all() else rows.weights
        if self.options["tree_method"] in ("EXACT", "APPROX"):
            return xgboost.DMatrix(rows.matrix, label=rows.labels, weight=weights)
        return xgboost.QuantileDMatrix(rows.matrix, label=rows.labels, weight=weights, ref=like)

    def _settings(self) -> dict[str, Any]:
        """The options under XGBoost's names."""
        said = self.options
        found: dict[str, Any] = {
            "objective": "reg:squarederror",
            "seed": 0,
            "num_parallel_tree": said["num_parallel_tree"],
            "max_depth": said["max_tree_depth"],
            "eta": said["learn_rate"] if self.ROUNDS else 1.0,
            "alpha": said["l1_reg"],
            "lambda": said["l2_reg"],
            "gamma": said["min_split_loss"],
            "min_child_weight": said["min_tree_child_weight"],
            "subsample": said["subsample"],
            "colsample_bytree": said["colsample_bytree"],
            "colsample_bylevel": said["colsample_bylevel"],
            "colsample_bynode": said["colsample_bynode"],
            "tree_method": said["tree_method"].lower(),
        }
        if self.classifies and len(self.classes) == 2:
            found["objective"] = "binary:logistic"
        elif self.classifies:
            found |= {"objective": "multi:softprob", "num_class": len(self.classes)}
        if said.get("booster_type") == "DART":
            normal = said["dart_normalize_type"].lower()
            found |= {"booster": "dart", "normalize_type": normal, "rate_drop": said["dropout"]}
        elif said.get("dropout"):
            raise DataError("DROPOUT needs BOOSTER_TYPE = 'DART'")
        return found

    def scores(self, matrix: Matrix) -> Numbers:
        found = np.asarray(self.booster.inplace_predict(matrix), np.float64)
        if self.classifies and found.ndim == 1:
            return np.stack([1 - found, found], axis=1)
        return found

    def raw(self, matrix: Matrix) -> Numbers:
        found = np.asarray(self.booster.inplace_predict(matrix, predict_type="margin"), np.float64)
        return found if found.ndim == 1 else np.asarray(found.max(axis=1))

    def attributions(self, matrix: Matrix, settings: Settings) -> tuple[Matrix, Numbers]:
        """Tree SHAP's (Lundberg et al. 2020), or with `approx_feature_contrib` Saabas'."""
        import xgboost

        if not len(matrix):  # of which XGBoost says nothing that has columns
            return np.zeros(matrix.shape), np.zeros(0)
        rough = bool(settings.get("approx_feature_contrib"))
        data = xgboost.DMatrix(matrix)
        found = np.asarray(self.booster.predict(data, pred_contribs=True, approx_contribs=rough), np.float64)
        if found.ndim == 3:
            likeliest = self.booster.inplace_predict(matrix, predict_type="margin").argmax(axis=1)
            found = found[np.arange(len(found)), likeliest]
        return found[:, :-1], found[:, -1]

    def explaining(self, rows: int) -> tuple[int, Settings]:
        if self.options["approx_global_feature_contrib"]:
            return rows, {"approx_feature_contrib": True}
        frame = sum(one.count("leaf=") for one in self.booster.get_dump())
        return min(rows, max(100, int(_SHAPLEY / (frame * int(self.options["max_tree_depth"]) ** 2 + 1)))), {}

    @function("ML.FEATURE_IMPORTANCE")
    def feature_importance(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """A row an input: how often it splits, and its gain and cover of a split on the mean."""
        kinds = ("weight", "total_gain", "total_cover")
        places = self.encoder.places(self.encoding)
        values = np.zeros((len(kinds), len(places)))
        for row, kind in enumerate(kinds):
            for name, value in self.booster.get_score(importance_type=kind).items():
                values[row, int(name[1:])] = value
        found = self.encoder.by_input(values, self.encoding)
        often = np.array([one[0] for one in found.values()])
        return pa.table(
            {
                "feature": pa.array(found, pa.string()),
                "importance_weight": pa.array(often, pa.float64()),
                "importance_gain": [one[1] / max(one[0], 1) for one in found.values()],
                "importance_cover": [one[2] / max(one[0], 1) for one in found.values()],
            }
        )


def _steps(model: _Trees) -> Any:
    """A callback that notes each round in the model's run, and ends the training with a round that brings too
    little."""
    from xgboost.callback import TrainingCallback

    said = model.options
    least = float(said["min_rel_progress"]) if said["early_stop"] and model.ROUNDS else -np.inf
    rate = said["learn_rate"] if model.ROUNDS else 1.0

    class Steps(TrainingCallback):
        def after_iteration(self, _model: Any, _epoch: int, evals_log: dict[str, Any]) -> bool:
            losses = {name: next(iter(log.values())) for name, log in evals_log.items()}
            held = losses.get("eval")
            model.run.step(float(losses["train"][-1]), float(held[-1]) if held else None, rate)
            told = held or losses["train"]
            if len(told) < 2:
                return False
            return bool(told[-2] - told[-1] < least * abs(told[-2]))

    return Steps()


class BoostedTrees(_Trees):
    TYPES: ClassVar[dict[str, str]] = {
        "BOOSTED_TREE_REGRESSOR": "BOOSTED_TREE_REGRESSOR",
        "BOOSTED_TREE_CLASSIFIER": "BOOSTED_TREE_CLASSIFIER",
    }
    CLASSIFIES: ClassVar[tuple[str, ...]] = ("BOOSTED_TREE_CLASSIFIER",)
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | SUPERVISED | STEPS | TUNING | CLASSES | _BOTH | _BOOSTED


class RandomForest(_Trees):
    """One round of many trees, each on a part of the rows, whose mean is the prediction."""

    TYPES: ClassVar[dict[str, str]] = {
        "RANDOM_FOREST_REGRESSOR": "RANDOM_FOREST_REGRESSOR",
        "RANDOM_FOREST_CLASSIFIER": "RANDOM_FOREST_CLASSIFIER",
    }
    CLASSIFIES: ClassVar[tuple[str, ...]] = ("RANDOM_FOREST_CLASSIFIER",)
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | SUPERVISED | TUNING | CLASSES | _BOTH | _FOREST
    ROUNDS: ClassVar[bool] = False


def _brief(error: Exception) -> str:
    """XGBoost's message without where in its source it was raised."""
    text = re.sub(
        r"^\[\d\d:\d\d:\d\d\] |\S+\.(?:cc|cu|h):\d+: ", "", str(error).split("Stack trace", 1)[0].strip()
    )
    return text.splitlines()[0] if text else "it does not say why"
