"""What fixed bins can't tell of a window: its quantiles and most frequent values, in sketches of bounded size.

Numbers go into a KLL sketch (Karnin, Lang & Liberty 2016): any quantile, with a rank error of about 0.35% at 99%
confidence. Categories go into a frequent-items sketch (Misra & Gries 1982, as Anderson et al. 2017 have it): every
value that fills more than the sketch's error is there, with bounds of its count. Both are Apache DataSketches', add up
as counts do, and stay within 64 KiB whatever the rows hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import datasketches
import numpy as np
import pyarrow as pa

from portico.ml import arrays
from portico.ml.watch.bins import FeatureBins, categories_of

_KLL: Final = 800  # 20 KB for any number of rows
_LG_FREQUENT: Final = 9  # at most 3/4 of 2^9 values, of
_NAME: Final = 128  # bytes each; longer ones are told apart by their beginnings only

Sketch = Any  # a kll_doubles_sketch or a frequent_strings_sketch: the package has no types
Sketches = dict[str, Sketch]


def sketch(table: pa.Table | pa.RecordBatch, bins: Sequence[FeatureBins]) -> Sketches:
    """A sketch for each feature of `bins`; missing and unreadable values are left out, infinite ones too."""
    made: Sketches = {}
    for feature in bins:
        position = table.schema.get_field_index(feature.name)
        column = None if position < 0 else table.column(position)
        if feature.kind == "numeric":
            made[feature.name] = datasketches.kll_doubles_sketch(_KLL)
            if column is not None:
                numbers = arrays.numbers(column)[0]
                made[feature.name].update(numbers[np.isfinite(numbers)])
        else:
            made[feature.name] = datasketches.frequent_strings_sketch(_LG_FREQUENT)
            for name, times in (categories_of(column)[0] if column is not None else {}).items():
                made[feature.name].update(_short(name), times)
    return made


def merge_sketches(one: Sketches, other: Sketches) -> Sketches:
    """The sketches of both windows' rows; `one`, which is empty where it has none, becomes them."""
    for name, more in other.items():
        if name in one:
            one[name].merge(more)
        else:
            one[name] = more
    return one


def quantiles(sketch: Sketch, ranks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> list[float]:
    """The numbers at `ranks` (0 to 1) of a feature's sketch; empty where it saw none."""
    if sketch.is_empty():
        return []
    ends: dict[float, Any] = {0: sketch.get_min_value, 1: sketch.get_max_value}  # exact
    return [float(ends[rank]() if rank in ends else sketch.get_quantile(rank)) for rank in ranks]


def top(sketch: Sketch, most: int = 10) -> list[tuple[str, int]]:
    """The most frequent categories of a feature's sketch and about how many rows have them, the most first."""
    kind = datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES
    found = [(name, int(estimate)) for name, estimate, *_ in sketch.get_frequent_items(kind)]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:most]


def _short(name: str) -> str:
    text = name.encode()
    return name if len(text) <= _NAME else text[: _NAME - 3].decode(errors="ignore") + "…"
