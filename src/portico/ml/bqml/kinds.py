"""Every model type that Portico trains, and the class that does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.ml.bqml import options
from portico.ml.bqml.arima import ArimaPlus, ArimaPlusXreg
from portico.ml.bqml.autoencoder import Autoencoder
from portico.ml.bqml.automl import AutoMl
from portico.ml.bqml.contribution import Contribution
from portico.ml.bqml.dnn import DeepNetwork, WideAndDeep
from portico.ml.bqml.factorization import Factorization
from portico.ml.bqml.imported import OnnxModel, XgboostModel
from portico.ml.bqml.kmeans import KMeans
from portico.ml.bqml.linear import LinearRegression, LogisticRegression
from portico.ml.bqml.model import Given, Model
from portico.ml.bqml.pca import Components
from portico.ml.bqml.remote import Remote
from portico.ml.bqml.tensorflow import TensorFlowModel
from portico.ml.bqml.transform_only import TransformOnly
from portico.ml.bqml.trees import BoostedTrees, RandomForest
from portico.ml.errors import DataError

_CLASSES: tuple[type[Model], ...] = (
    LinearRegression,
    LogisticRegression,
    BoostedTrees,
    RandomForest,
    DeepNetwork,
    WideAndDeep,
    AutoMl,
    KMeans,
    Components,
    Autoencoder,
    ArimaPlus,
    ArimaPlusXreg,
    Factorization,
    Contribution,
    OnnxModel,
    XgboostModel,
    TensorFlowModel,
    TransformOnly,
    Remote,
)
KINDS: dict[str, type[Model]] = {name: one for one in _CLASSES for name in one.TYPES}
_RENAMED = {"ARIMA": "ARIMA_PLUS"}  # the former name, which statements still have


def kind(model_type: str) -> type[Model]:
    """
    Raises:
        DataError: BigQuery ML has no such type.
    """
    found = KINDS.get(model_type)
    if found is None:
        trained = sorted(KINDS.keys() - Remote.TYPES.keys())
        raise DataError(f"Unsupported model type {model_type!r}; Portico trains {', '.join(trained)}")
    return found


def read_options(given: Mapping[str, Any], *, remote: bool = False) -> options.Options:
    """OPTIONS(…) of a CREATE MODEL, whole and checked; of one with REMOTE, which has no model type.

    Raises:
        DataError: there is no model type, or an option is wrong.
    """
    if remote and "model_type" in given:
        raise DataError("Option MODEL_TYPE is not supported for remote models")
    model_type = "REMOTE" if remote else given.get("model_type")
    if not isinstance(model_type, str):
        raise DataError("Option MODEL_TYPE is missing")
    if model_type.upper() in Remote.TYPES and not remote:
        raise DataError("A remote model is made by REMOTE WITH CONNECTION, not by MODEL_TYPE")
    model_type = _RENAMED.get(model_type.upper(), model_type.upper())
    read = options.read(kind(model_type).OPTIONS, given, model_type)
    read["model_type"] = model_type
    return read


def read_warm_options(given: Mapping[str, Any], before: Model) -> options.Options:
    """OPTIONS(…) of a CREATE MODEL with WARM_START: what is not said is as it was for the model `before`.

    Raises:
        DataError: an option is wrong, or is another than that of `before` and may not be.
    """
    read = read_options({"model_type": before.model_type, **given})
    if read["model_type"] != before.model_type:
        raise DataError(f"WARM_START: MODEL_TYPE must remain {before.model_type}")
    if "trials" in before.state or read.get("num_trials"):
        raise DataError("WARM_START can't be used with NUM_TRIALS")
    said = {"input_label_cols" if name == "labels" and not read["labels"] else name for name in given}
    for name in sorted(said.intersection(_LASTING)):
        if read[name] != before.options[name]:
            raise DataError(f"WARM_START: {name.upper()} must remain {before.options[name]!r}")
    kept = before.options.keys() & read.keys() - said - options.COMMON.keys()
    return read | {name: before.options[name] for name in kept}


_LASTING = (
    "input_label_cols", "hidden_units", "activation_fn", "category_encoding_method", "fit_intercept", "num_clusters",
    "distance_type", "standardize_features",
)  # fmt: skip


def train(given: Given) -> Model:
    return kind(given.model_type).train(given)


def load(folder: Path) -> Model:
    kept = json.loads((folder / "model.json").read_text())
    return kind(kept["type"]).load(folder)
