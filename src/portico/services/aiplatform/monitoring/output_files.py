"""The files of a job below its output directory, laid out as Google's client reads them to draw a job's findings.

Statistics are a tensorflow.metadata.v0.DatasetFeatureStatisticsList, which TensorFlow Data Validation shows; what is
known of it here are the fields that `distribution` writes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.store.gcs import Gcs
from portico.store.monitoring_points import Point

# JSON key -> field number and type, of each message in statistics.proto.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "list": {"datasets": (1, "dataset")},
    "dataset": {"numExamples": (2, "integer"), "features": (3, "feature")},
    "feature": {
        "type": (2, "kind"),
        "numStats": (3, "numbers"),
        "stringStats": (4, "strings"),
        "path": (8, "path"),
    },
    "path": {"step": (1, "string")},
    "common": {
        "numNonMissing": (1, "integer"),
        "numMissing": (2, "integer"),
        "minNumValues": (3, "integer"),
        "maxNumValues": (4, "integer"),
    },
    "numbers": {"commonStats": (1, "common"), "histograms": (8, "histogram")},
    "histogram": {"buckets": (3, "bucket"), "type": (4, "kind")},
    "bucket": {"lowValue": (1, "double"), "highValue": (2, "double"), "sampleCount": (4, "double")},
    "strings": {
        "commonStats": (1, "common"),
        "unique": (2, "integer"),
        "topValues": (3, "frequency"),
        "rankHistogram": (5, "ranks"),
    },
    "frequency": {"value": (2, "string"), "frequency": (3, "double")},
    "ranks": {"buckets": (1, "rank")},
    "rank": {
        "lowRank": (1, "integer"),
        "highRank": (2, "integer"),
        "label": (4, "string"),
        "sampleCount": (5, "double"),
    },
}
_ENUMS = {"FLOAT": 1, "STRING": 2, "QUANTILES": 1}
_FOLDERS = {spec.FEATURES: "feature_drift", spec.OUTPUTS: "output_drift", spec.ATTRIBUTIONS: "xai"}
_REASONS = {
    spec.JENSEN_SHANNON: "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
    spec.L_INFINITY: "COMPARATOR_L_INFTY_HIGH",
}


def folder_of(prefix: str, job: str, objective: str) -> str:
    """Where the files of an objective are, below the job's output directory `prefix`."""
    return f"{prefix}/tabular/jobs/{job.rpartition('/')[2]}/{_FOLDERS[objective]}"


def anomalies_uri(prefix: str, job: str, objective: str) -> str:
    return f"{folder_of(prefix, job, objective)}/anomalies.textproto"


def write(gcs: Gcs, prefix: str, job: str, points: Sequence[Point]) -> None:
    """Writes what a job found.

    Raises:
        InvalidArgument, NotFound: nothing can be written there.
    """
    for objective in dict.fromkeys(point.objective for point in points):
        found = [point for point in points if point.objective == objective]
        folder = folder_of(prefix, job, objective)
        for side, key in (("baseline", "baseline"), ("target", "current")):
            if objective == spec.ATTRIBUTIONS:
                shares = {point.name: point.body[key]["doubleValue"] for point in found}
                gcs.write(
                    f"{folder}/{side}/feature_score.json", json.dumps(shares).encode(), "application/json"
                )
                continue
            parts = [point.body[key]["distributionValue"]["distribution"] for point in found]
            whole = {"numExamples": parts[0]["numExamples"], "features": [p["features"][0] for p in parts]}
            gcs.write(f"{folder}/{side}/statistics", encode("list", {"datasets": [whole]}))
        if objective != spec.ATTRIBUTIONS:
            text = "".join(_anomaly(point) for point in found if point.anomaly)
            gcs.write(anomalies_uri(prefix, job, objective), text.encode(), "text/plain")


def encode(message: str, value: Mapping[str, Any]) -> bytes:
    """A message of statistics.proto in protobuf's wire format (https://protobuf.dev/programming-guides/encoding/)."""
    made = bytearray()
    for key, (number, kind) in _MESSAGES[message].items():
        given = value.get(key)
        for one in given if isinstance(given, list) else [] if given is None else [given]:
            if kind == "double":
                made += _varint(number << 3 | 1) + struct.pack("<d", float(one))
            elif kind in ("integer", "kind"):
                made += _varint(number << 3) + _varint(_ENUMS[one] if kind == "kind" else int(one))
            else:
                data = str(one).encode() if kind == "string" else encode(kind, one)
                made += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(made)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def _anomaly(point: Point) -> str:
    """An entry of a tensorflow.metadata.v0.Anomalies in protobuf's text format."""
    name, words = _quoted(point.name), _quoted(point.body["summary"])
    reason = f"type: {_REASONS[point.algorithm]} short_description: {words} description: {words}"
    return (
        f"anomaly_info {{\n  key: {name}\n  value {{\n    description: {words}\n    severity: ERROR\n"
        f"    short_description: {words}\n    reason {{ {reason} }}\n    path {{ step: {name} }}\n  }}\n}}\n"
    )


def _quoted(text: str) -> str:
    """A string of the text format: whatever is not plain ASCII as the octal numbers of its bytes."""
    return (
        '"'
        + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in text.encode())
        + '"'
    )
