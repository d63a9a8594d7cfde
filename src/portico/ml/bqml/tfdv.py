"""Statistics of data, and how far two of them lie apart, in the forms of TensorFlow Data Validation.

Statistics are a DatasetFeatureStatisticsList and what comes of comparing two an Anomalies, as JSON under the fields'
own names; as in JSON of protocol buffers, numbers of 64 bits are texts and zeros are left out.
(https://www.tensorflow.org/tfx/tf_metadata/api_docs/python/tfmd/proto/statistics_pb2/DatasetFeatureStatisticsList)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.arrays import Floats
from portico.ml.errors import DataError

JENSEN, LARGEST = "JENSEN_SHANNON_DIVERGENCE", "L_INFTY"
HISTOGRAMS = {
    "num_histogram_buckets": 10,
    "num_quantiles_histogram_buckets": 10,
    "num_values_histogram_buckets": 10,
    "num_rank_histogram_buckets": 50,
}
_TOP = 20  # values that are told as the most frequent
_CONTROLS = {"SKEW": ("training", "serving"), "DRIFT": ("current", "previous")}


@dataclass(frozen=True, slots=True)
class Measured:
    """A feature of two statistics. `largest` is the value whose share moved most, for L-infinity alone."""

    name: str
    kind: str
    metric: str
    value: float
    threshold: float
    largest: str | None

    @property
    def anomalous(self) -> bool:
        return self.value > self.threshold


# --- statistics ---


def statistics(table: pa.Table, buckets: Mapping[str, int]) -> dict[str, Any]:
    """A DatasetFeatureStatisticsList of the columns that can have one; a field of a STRUCT is a feature of its own."""
    features = [_feature(name, column, buckets) for name, column in _columns(table) if supported(column.type)]
    return {"datasets": [_told({"num_examples": str(table.num_rows), "features": features})]}


def supported(kind: pa.DataType) -> bool:
    """Whether a column has statistics: of numbers, texts and times, of arrays of them, or of (index, number) pairs."""
    if pa.types.is_list(kind):
        inner = kind.value_type
        return _sparse(inner) or not pa.types.is_nested(inner)
    return not pa.types.is_nested(kind) and not isinstance(kind, pa.BaseExtensionType)


def _sparse(kind: pa.DataType) -> bool:
    return (
        pa.types.is_struct(kind)
        and kind.num_fields == 2
        and pa.types.is_integer(kind.field(0).type)
        and _number(kind.field(1).type)
    )


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _columns(table: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_struct(column.type):
            parts = pa.table(
                {field.name: pc.struct_field(column, [place]) for place, field in enumerate(column.type)}
            )
            yield from ((f"{name}.{inner}", one) for inner, one in _columns(parts))
        else:
            yield name, column


def _feature(name: str, column: pa.ChunkedArray, buckets: Mapping[str, int]) -> dict[str, Any]:
    values = column
    if pa.types.is_list(column.type):
        values = pc.list_flatten(column)
        if _sparse(values.type):
            values = pc.struct_field(values, [1])
    values = pc.drop_null(values)
    common = _common(column, buckets["num_values_histogram_buckets"])
    kind = values.type
    if _number(kind):
        told = {"name": name, "num_stats": _numeric(values, common, buckets)}
        return told if pa.types.is_integer(kind) else {**told, "type": "FLOAT"}
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return {"name": name, "type": "BYTES", "bytes_stats": _bytes(values, common)}
    return {"name": name, "type": "STRING", "string_stats": _text(values, common, buckets)}


def _common(column: pa.ChunkedArray, buckets: int) -> dict[str, Any]:
    known = pc.drop_null(column)
    lengths = np.ones(len(known))
    if pa.types.is_list(column.type):
        lengths = pc.list_value_length(known).to_numpy().astype(float)
        lengths = lengths[lengths > 0]  # an example without a value is one where the feature is missing
    if not len(lengths):
        return _told({"num_missing": str(len(column))})
    return _told(
        {
            "num_non_missing": str(len(lengths)),
            "num_missing": str(len(column) - len(lengths)),
            "min_num_values": str(int(lengths.min())),
            "max_num_values": str(int(lengths.max())),
            "avg_num_values": float(lengths.mean()),
            "num_values_histogram": _quantiles(np.sort(lengths), buckets),
            "tot_num_values": str(int(lengths.sum())),
        }
    )


def _numeric(values: pa.ChunkedArray, common: dict[str, Any], buckets: Mapping[str, int]) -> dict[str, Any]:
    numbers: Floats = values.cast(pa.float64(), safe=False).to_numpy()
    strange = int(np.isnan(numbers).sum())
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return _told({"common_stats": common})
    ordered = np.sort(known)  # once, for all that goes by order
    standard = _equal_widths(ordered, buckets["num_histogram_buckets"])
    quantiles = _quantiles(ordered, buckets["num_quantiles_histogram_buckets"])
    if strange:
        standard["num_nan"] = quantiles["num_nan"] = str(strange)
    with np.errstate(invalid="ignore"):
        mean, deviation = float(known.mean()), float(known.std())
    return _told(
        {
            "common_stats": common,
            "mean": _wired(mean),
            "std_dev": _wired(deviation),
            "num_zeros": str(int((known == 0).sum())),
            "min": _wired(float(ordered[0])),
            "median": _wired(_median(ordered)),
            "max": _wired(float(ordered[-1])),
            "histograms": [standard, quantiles],
        }
    )


def _median(ordered: Floats) -> float:
    half = len(ordered) // 2
    with np.errstate(invalid="ignore"):  # of infinities of both signs
        return float(ordered[half] if len(ordered) % 2 else ordered[half - 1 : half + 1].mean())


def _equal_widths(ordered: Floats, number: int) -> dict[str, Any]:
    """Buckets of one width from the least to the greatest number; infinities have buckets of their own."""
    low, high = np.searchsorted(ordered, -math.inf, "right"), np.searchsorted(ordered, math.inf)
    finite = ordered[low:high]
    made = [(-math.inf, -math.inf, float(low))]
    if len(finite) and finite[0] == finite[-1]:
        made.append((float(finite[0]), float(finite[0]), float(len(finite))))
    elif len(finite):
        edges = np.linspace(finite[0], finite[-1], number + 1)
        if np.isfinite(edges).all():
            ends = np.append(np.searchsorted(finite, edges[:-1]), len(finite))
            counts = np.diff(ends).astype(float).tolist()
            made += list(zip(edges[:-1].tolist(), edges[1:].tolist(), counts, strict=True))
    made.append((math.inf, math.inf, float(len(ordered) - high)))
    return {"buckets": [_bucket(*one) for one in made if one[2] or math.isfinite(one[0])]}


def _quantiles(ordered: Floats, number: int) -> dict[str, Any]:
    """As many buckets, with as many numbers in each: their edges are numbers that occur (inverted distribution
    function; Hyndman and Fan 1996, definition 1)."""
    places = np.ceil(len(ordered) * np.linspace(0, 1, number + 1) - 1).astype(int).clip(0)
    share = len(ordered) / number
    buckets = [_bucket(low, high, share) for low, high in pairwise(ordered[places].tolist())]
    return {"buckets": buckets, "type": "QUANTILES"}


def _bucket(low: float, high: float, count: float) -> dict[str, Any]:
    return _told({"low_value": _wired(low), "high_value": _wired(high), "sample_count": count})


def _text(values: pa.ChunkedArray, common: dict[str, Any], buckets: Mapping[str, int]) -> dict[str, Any]:
    texts = values.cast(pa.string())
    if not len(texts):
        return _told({"common_stats": common})
    counted = sorted(
        ((one["counts"], one["values"]) for one in pc.value_counts(texts).to_pylist()), reverse=True
    )
    ranks = [
        _told({"low_rank": str(rank), "high_rank": str(rank), "label": value, "sample_count": float(count)})
        for rank, (count, value) in enumerate(counted[: buckets["num_rank_histogram_buckets"]])
    ]
    return _told(
        {
            "common_stats": common,
            "unique": str(len(counted)),
            "top_values": [
                _told({"value": value, "frequency": float(count)}) for count, value in counted[:_TOP]
            ],
            "avg_length": float(pc.mean(pc.utf8_length(texts)).as_py()),
            "rank_histogram": {"buckets": ranks},
        }
    )


def _bytes(values: pa.ChunkedArray, common: dict[str, Any]) -> dict[str, Any]:
    if not len(values):
        return _told({"common_stats": common})
    lengths = pc.binary_length(values).to_numpy()
    return _told(
        {
            "common_stats": common,
            "unique": str(pc.count_distinct(values).as_py()),
            "avg_num_bytes": float(lengths.mean()),
            "min_num_bytes": float(lengths.min()),
            "max_num_bytes": float(lengths.max()),
        }
    )


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    """A message without what is zero or empty."""
    return {name: value for name, value in fields.items() if value not in (0.0, "0", "", [], {})}


def _wired(value: float) -> float | str:
    """JSON has no number for what is none."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


# --- how two lie apart ---


def measured(
    base: Mapping[str, Any], study: Mapping[str, Any], settings: Mapping[str, Any], own: Mapping[str, float]
) -> list[Measured]:
    """Each feature that both statistics have, by the metric of its kind in `base`; where that can't be computed, the
    feature is left out.

    Args:
        settings: categorical_default_threshold, categorical_metric_type, numerical_default_threshold.
        own: thresholds of features by their names.

    Raises:
        DataError: `own` names a feature that `base` has not.
    """
    before, now = _features(base), _features(study)
    if strange := set(own) - set(before):
        raise DataError(f"thresholds: there is no column {sorted(strange)[0]}")
    found = []
    for name, one in before.items():
        numeric = "num_stats" in one
        if name not in now or not (numeric or "string_stats" in one):
            continue
        metric = JENSEN if numeric else settings["categorical_metric_type"]
        kind = "numerical" if numeric else "categorical"
        threshold = own.get(name, settings[f"{kind}_default_threshold"])
        largest = None
        if metric == LARGEST:
            value, largest = _largest(_shares(one), _shares(now[name]))
        else:
            apart = _histograms_apart(one, now[name]) if numeric else _shares_apart(one, now[name])
            if apart is None:
                continue
            value = apart
        found.append(Measured(name, str(one.get("type", "INT")), metric, value, float(threshold), largest))
    return found


def anomalies(found: list[Measured], detection: str) -> dict[str, Any]:
    """An Anomalies of what was measured; `detection` is SKEW or DRIFT."""
    part = detection.lower()
    treatment, control = _CONTROLS[detection]
    schema, told, infos = [], {}, []
    for one in found:
        name = "infinity_norm" if one.metric == LARGEST else "jensen_shannon_divergence"
        kind = "BYTES" if one.kind == "STRING" else one.kind
        schema.append(
            {"name": one.name, "type": kind, f"{part}_comparator": {name: {"threshold": one.threshold}}}
        )
        measurement = {"type": one.metric, "value": one.value, "threshold": one.threshold}
        path = {"step": [one.name]}
        infos.append({"path": path, f"{part}_measurements": [measurement]})
        if not one.anomalous:
            continue
        what = "Linfty distance" if one.metric == LARGEST else "approximate Jensen-Shannon divergence"
        short = f"{what} between {treatment} and {control}"
        said = (
            f"The {short} is {one.value:.6g} (up to six significant digits), above the threshold "
            f"{one.threshold:.6g}."
        )
        if one.largest is not None:
            said += f" The feature value with maximum difference is: {one.largest}"
        reason = {
            "type": f"COMPARATOR_{one.metric}_HIGH",
            "short_description": f"High {short}",
            "description": said,
        }
        told[one.name] = {
            "path": path,
            "description": said,
            "severity": "ERROR",
            "short_description": f"High {short}",
            "reason": [reason],
        }
    made: dict[str, Any] = {"baseline": {"feature": schema}, "anomaly_name_format": "SERIALIZED_PATH"}
    if told:
        made["anomaly_info"] = told
    return {**made, "drift_skew_info": infos}


def _features(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    Raises:
        DataError: this is no DatasetFeatureStatisticsList.
    """
    try:
        features = [_snaked(one) for one in given["datasets"][0].get("features", [])]
        return {one["name"] if "name" in one else ".".join(one["path"]["step"]): one for one in features}
    except (AttributeError, KeyError, IndexError, TypeError):
        raise DataError("statistics must be a DatasetFeatureStatisticsList in JSON format") from None


def _snaked(given: Any) -> Any:
    """A message under its fields' own names, where it was written under those of JSON."""
    if isinstance(given, list):
        return [_snaked(one) for one in given]
    if not isinstance(given, dict):
        return given
    return {
        re.sub("[A-Z]", lambda one: f"_{one[0].lower()}", key): _snaked(one) for key, one in given.items()
    }


def _shares(feature: Mapping[str, Any]) -> dict[str, float]:
    """The share of each value among those that have a rank; of a feature of another kind there are none."""
    ranks = feature.get("string_stats", {}).get("rank_histogram", {}).get("buckets", [])
    counts = {one.get("label", ""): float(one.get("sample_count", 0)) for one in ranks}
    total = sum(counts.values())
    return {label: count / total for label, count in counts.items()} if total else {}


def _largest(base: dict[str, float], study: dict[str, float]) -> tuple[float, str]:
    moved = [(abs(base.get(one, 0) - study.get(one, 0)), one) for one in {*base, *study}]
    return max(moved, default=(0.0, ""))


def _shares_apart(base: Mapping[str, Any], study: Mapping[str, Any]) -> float | None:
    before, now = _shares(base), _shares(study)
    if not before or not now:
        return None
    labels = sorted({*before, *now})
    return _divergence(
        np.array([before.get(one, 0) for one in labels]), np.array([now.get(one, 0) for one in labels])
    )


def _histograms_apart(base: Mapping[str, Any], study: Mapping[str, Any]) -> float | None:
    """The divergence of two histograms over all edges of both; within a bucket numbers are taken to lie evenly."""
    kept = [_standard(base), _standard(study)]
    edges = np.unique([edge for one in kept for low, high, _ in one if low < high for edge in (low, high)])
    points = sorted({low for one in kept for low, high, _ in one if not low < high})
    masses = [_aligned(one, edges, points) for one in kept]
    if any(one.sum() == 0 for one in masses):
        return None
    return _divergence(*(one / one.sum() for one in masses))


def _standard(feature: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    for histogram in feature.get("num_stats", {}).get("histograms", []):
        if histogram.get("type", "STANDARD") == "STANDARD":
            return [
                (
                    float(one.get("low_value", 0)),
                    float(one.get("high_value", 0)),
                    float(one.get("sample_count", 0)),
                )
                for one in histogram.get("buckets", [])
            ]
    return []


def _aligned(buckets: list[tuple[float, float, float]], edges: Any, points: list[float]) -> Floats:
    """The mass between all edges, then that at each point."""
    made = np.zeros(max(len(edges) - 1, 0) + len(points))
    for low, high, count in buckets:
        if not low < high:
            made[len(made) - len(points) + points.index(low)] += count
            continue
        first, last = np.searchsorted(edges, [low, high])
        made[first:last] += count * np.diff(edges[first : last + 1]) / (high - low)
    return made


def _divergence(p: Floats, q: Floats) -> float:
    """Jensen-Shannon, in bits."""
    middle = (p + q) / 2
    apart = sum(float((one[one > 0] * np.log2(one[one > 0] / middle[one > 0])).sum()) for one in (p, q))
    return min(max(apart / 2, 0.0), 1.0)
