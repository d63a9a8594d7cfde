"""A field's counts in the shape of tensorflow.metadata.v0.DatasetFeatureStatistics, as Google's monitors show them.

https://github.com/tensorflow/metadata/blob/master/tensorflow_metadata/proto/v0/statistics.proto
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from portico.ml.watch.bins import Counts, FeatureBins

_TOP = 20


def distribution(feature: FeatureBins, counts: Counts) -> dict[str, Any]:
    """The statistics of one field: a histogram of numbers, or the most frequent categories."""
    common = {
        "numNonMissing": str(counts.present),
        "numMissing": str(counts.missing + counts.invalid),
        "minNumValues": "1",
        "maxNumValues": "1",
    }
    shown: dict[str, Any] = {"path": {"step": [feature.name]}}
    if feature.kind == "numeric":
        shown |= {
            "type": "FLOAT",
            "numStats": {"commonStats": common, "histograms": [_histogram(feature, counts)]},
        }
    else:
        shown |= {"type": "STRING", "stringStats": {"commonStats": common, **_ranks(feature, counts)}}
    return {"numExamples": str(counts.rows), "features": [shown]}


def _histogram(feature: FeatureBins, counts: Counts) -> dict[str, Any]:
    """The baseline's bins; what lies outside its range is in buckets that are open at one side."""
    buckets: list[dict[str, Any]] = []
    edges = feature.edges
    if counts.under:
        buckets.append({"lowValue": "-Infinity", "highValue": edges[0], "sampleCount": counts.under})
    for (low, high), rows in zip(pairwise(edges), counts.bins, strict=False):
        buckets.append({"lowValue": low, "highValue": high, "sampleCount": rows})
    if counts.over:
        buckets.append({
            "lowValue": edges[-1] if edges else "-Infinity", "highValue": "Infinity", "sampleCount": counts.over,
        })  # fmt: skip
    return {"buckets": buckets, "type": "QUANTILES"}


def _ranks(feature: FeatureBins, counts: Counts) -> dict[str, Any]:
    rows = dict(zip(feature.categories, counts.bins, strict=True)) | counts.new
    order = sorted((name for name in rows if rows[name]), key=lambda name: (-rows[name], name))
    top = order[:_TOP]
    return {
        "unique": str(len(order)),
        "topValues": [{"value": name, "frequency": rows[name]} for name in top],
        "rankHistogram": {
            "buckets": [
                {"lowRank": str(rank), "highRank": str(rank), "label": name, "sampleCount": rows[name]}
                for rank, name in enumerate(top)
            ]
        },
    }
