"""OPTIONS(…) of CREATE MODEL: which a model type has, of which kind, and what they are if nothing is said."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from portico.ml.errors import DataError


class NotBuilt(DataError):
    """What BigQuery ML has and Portico has not."""


@dataclass(frozen=True, slots=True)
class Search:
    """HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([…]): what a trial takes its value from."""

    low: float | None = None
    high: float | None = None
    candidates: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `kind` is bool, int, float, str, list (of texts; one text will do) or any; `choices` are in upper
    case; labels are pairs, and a timestamp becomes its milliseconds; numbers lie between `low` and `high`. `tuned`
    may be given as a range or as candidates of a search, on a scale of logarithms where it is `log`; `search` is
    where a model with trials searches it by itself."""

    kind: str
    default: Any = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    tuned: bool = False
    log: bool = False
    search: Search | None = None
    refused: str = ""  # why Portico does not take it
    parts: tuple[
        str, ...
    ] = ()  # of the model, each of which may be given a value of its own, by an array of STRUCTs

    def read(self, name: str, value: Any) -> Any:
        """
        Raises:
            DataError: the value is of another kind or none of the choices.
        """
        shown = name.upper()
        if isinstance(value, decimal.Decimal):
            value = float(value)
        if value is None:
            return self.default
        if self.parts and isinstance(value, list):
            return self._by_part(shown, value)
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind in ("int", "float") and isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(shown, value)
        if self.kind == "str" and isinstance(value, str):
            if self.choices and value.upper() not in self.choices:
                raise DataError(f"Option {shown} is {value!r}; it must be one of {', '.join(self.choices)}")
            return value.upper() if self.choices else value
        if self.kind == "list" and isinstance(value, str):
            return [value]
        if self.kind == "list" and isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        if self.kind == "timestamp" and isinstance(value, datetime.datetime):
            return int(value.timestamp() * 1000)
        if self.kind == "labels":
            return _labels(shown, value)
        if self.kind == "any":
            return value
        wanted = {"list": "an array of strings", "str": "a string", "int": "an integer", "float": "a number"}
        wanted["timestamp"] = "a TIMESTAMP"
        raise DataError(f"Option {shown} must be {wanted.get(self.kind, 'TRUE or FALSE')}, and is {value!r}")

    def _by_part(self, shown: str, given: list[Any]) -> dict[str, Any]:
        told = pairs(f"Option {shown}", given)
        if sorted(key for key, _ in told) != sorted(self.parts):
            raise DataError(f"Option {shown} must have one STRUCT for each of {' and '.join(self.parts)}")
        return {key: replace(self, parts=()).read(shown, value) for key, value in told}

    def _number(self, shown: str, value: float) -> float:
        if not math.isfinite(value):
            raise DataError(f"Option {shown} must be a finite number, and is {value}")
        if self.kind == "int" and int(value) != value:
            raise DataError(f"Option {shown} must be an integer, and is {value}")
        below = self.low is not None and value < self.low
        above = self.high is not None and value > self.high
        if below or above:
            bounds = f"at least {self.low:g}" if self.high is None else f"from {self.low:g} to {self.high:g}"
            raise DataError(f"Option {shown} must be {bounds}, and is {value:g}")
        return int(value) if self.kind == "int" else float(value)


Options = dict[str, Any]
"""By lower-case name; every option of the model type is there."""

_NONE = "Portico keeps models on this machine: it has no"

COMMON = {
    "model_type": Option("str"),
    "description": Option("str"),
    "friendly_name": Option("str"),
    "labels": Option("labels"),
    "expiration_timestamp": Option("timestamp"),
    "model_registry": Option("str", choices=("VERTEX_AI",)),
    "vertex_ai_model_id": Option("str"),
    "vertex_ai_model_version_aliases": Option("list", []),
    "kms_key_name": Option("str", refused=f"{_NONE} Cloud KMS keys"),
    "reservation_affinity_type": Option("str", refused=f"{_NONE} reservations"),
}
"""Of every model type."""

SUPERVISED = {
    "input_label_cols": Option("list", ["label"]),
    "data_split_method": Option("str", "AUTO_SPLIT", ("AUTO_SPLIT", "RANDOM", "CUSTOM", "SEQ", "NO_SPLIT")),
    "data_split_eval_fraction": Option("float", 0.2, low=0, high=1),
    "data_split_test_fraction": Option("float", 0.0, low=0, high=1),
    "data_split_col": Option("str"),
    "enable_global_explain": Option("bool", False),
    "instance_weight_col": Option("str"),
}
CLASSES = {"auto_class_weights": Option("bool", False), "class_weights": Option("any")}
STEPS = {
    "max_iterations": Option("int", 20, low=1),
    "early_stop": Option("bool", True),
    "min_rel_progress": Option("float", 0.01, low=0),
}
TF_VERSION = Option("str", None, ("1.15", "2.8.0", "2.17.0"))
PENALTY = Option("float", 0.0, low=0, tuned=True, log=True, search=Search(0.0, 10.0))
TUNING = {
    "num_trials": Option("int", 0, low=0, high=100),
    "max_parallel_trials": Option("int", 1, low=1, high=5),
    "hparam_tuning_algorithm": Option(
        "str", "VIZIER_DEFAULT", ("VIZIER_DEFAULT", "RANDOM_SEARCH", "GRID_SEARCH")
    ),
    "hparam_tuning_objectives": Option("list", []),
}


def read(declared: Mapping[str, Option], given: Mapping[str, Any], model_type: str) -> Options:
    """What a model of `model_type` is trained with.

    Raises:
        DataError: an option is not of this model type, or its value is wrong. NotBuilt: Portico refuses it.
    """
    found: Options = {name: one.default for name, one in declared.items()}
    given = _older(given)
    for name, value in given.items():
        one = declared.get(name)
        if one is None:
            raise DataError(f"Option {name.upper()} is not supported for model type {model_type}")
        if one.refused and one.kind == "bool" and value is False:
            continue  # what clients write out is what is done anyway
        if one.refused:
            raise NotBuilt(f"Option {name.upper()} is not built in Portico: {one.refused}.")
        if isinstance(value, Search):
            if not one.tuned or not given.get("num_trials"):
                said = "needs NUM_TRIALS" if one.tuned else "can't be tuned"
                raise DataError(f"Option {name.upper()} {said} to be given as a search")
            found[name] = _space(one, name, value)
        else:
            found[name] = one.read(name, value)
    if given.get("num_trials") and not any(isinstance(one, Search) for one in given.values()):
        found |= {name: one.search for name, one in declared.items() if one.search and name not in given}
    return found


def _older(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """INPUT_LABEL_COLS was called LABELS once: an array of names is that, one of pairs are the model's labels.

    Raises:
        DataError: both name columns.
    """
    labels = given.get("labels")
    if not isinstance(labels, (list, tuple)) or not labels or not all(isinstance(one, str) for one in labels):
        return given
    if "input_label_cols" in given:
        raise DataError("LABELS names columns, and INPUT_LABEL_COLS too; give one of them")
    return {**{name: value for name, value in given.items() if name != "labels"}, "input_label_cols": labels}


def _space(one: Option, name: str, space: Search) -> Search:
    """A search whose values are the option's."""
    if space.candidates:
        return Search(candidates=tuple(one.read(name, _inner(each)) for each in space.candidates))
    if one.kind not in ("int", "float") or space.low is None or space.high is None:
        raise DataError(f"Option {name.upper()} needs HPARAM_CANDIDATES with at least one value")
    if space.low > space.high:
        raise DataError(f"Option {name.upper()}: HPARAM_RANGE begins with the lower of its numbers")
    return Search(one.read(name, space.low), one.read(name, space.high))


def _inner(value: Any) -> Any:
    """An array is given as STRUCT([…])."""
    return next(iter(value.values())) if isinstance(value, dict) else value


def packed(options: Options) -> Options:
    """Options as JSON has them."""
    return {
        name: {"search": [one.low, one.high, one.candidates]} if isinstance(one, Search) else one
        for name, one in options.items()
    }


def unpacked(kept: Options) -> Options:
    """What `packed` made options of."""

    def read(one: Any) -> Any:
        if isinstance(one, dict) and list(one) == ["search"]:
            low, high, candidates = one["search"]
            return Search(low, high, tuple(candidates))
        return one

    return {name: read(one) for name, one in kept.items()}


def pairs(name: str, given: Any) -> list[tuple[str, Any]]:
    """An option that is an array of two-part structs: [('a', 1), …].

    Raises:
        DataError: it is something else.
    """
    try:
        told = [tuple(one.values()) if isinstance(one, dict) else tuple(one) for one in given]
        return [(str(key), value) for key, value in told]
    except (TypeError, ValueError):
        raise DataError(f"{name} must be an array of STRUCTs of two fields") from None


def _labels(shown: str, given: Any) -> dict[str, str]:
    """(https://cloud.google.com/bigquery/docs/labels-intro#requirements)"""
    found: dict[str, str] = {}
    for key, value in pairs(shown, given):
        if (
            not isinstance(value, str)
            or not _KEY.fullmatch(key)
            or not _VALUE.fullmatch(value)
            or (key + value) != (key + value).lower()
        ):
            raise DataError(
                f"Option {shown}: keys and values are at most 63 lower-case letters, digits, _ and -, keys begin with "
                f"a letter; this is {key!r}: {value!r}"
            )
        if key in found:
            raise DataError(f"Option {shown} has the key {key!r} twice")
        found[key] = value
    return found


_KEY = re.compile(r"(?=[^\W\d_])[\w-]{1,63}")
_VALUE = re.compile(r"[\w-]{0,63}")
