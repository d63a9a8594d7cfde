"""Stand-ins for tables of dry beans of seven kinds, as a camera measured them, in projects that samples of pipelines
read. Areas and shapes are drawn for each kind; the other columns follow from these, by the formulas of

M. Koklu, I. A. Ozkan: Multiclass classification of dry beans using computer vision and machine learning techniques,
Computers and Electronics in Agriculture 174 (2020).
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa

from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import SEED, generator, picked, weighted

# Kind, how many of ten thousand, mean area in pixels, mean of its length divided by its width.
_KINDS = (("SEKER", 1490, 39_900, 1.25), ("BARBUNYA", 970, 69_800, 1.54), ("BOMBAY", 380, 173_500, 1.59),
          ("CALI", 1200, 75_500, 1.73), ("HOROZ", 1420, 53_600, 2.03), ("SIRA", 1940, 44_700, 1.57),
          ("DERMASON", 2600, 32_100, 1.49))  # fmt: skip
_NUMBERS = ("Perimeter", "MajorAxisLength", "MinorAxisLength", "AspectRation", "Eccentricity", "EquivDiameter",
            "Extent", "Solidity", "roundness", "Compactness", "ShapeFactor1", "ShapeFactor2", "ShapeFactor3",
            "ShapeFactor4")  # fmt: skip
_COLUMNS = ("Area INT64, " + ", ".join(f"{name} FLOAT64" for name in _NUMBERS[:5]) + ", ConvexArea INT64, "
            + ", ".join(f"{name} FLOAT64" for name in _NUMBERS[5:]) + ", Class STRING")  # fmt: skip


def _beans(count: int) -> pa.Table:
    random = generator("beans")
    kind = weighted(random, [one[1] for one in _KINDS], count)
    area = picked([one[2] for one in _KINDS], kind) * random.lognormal(0, 0.11, count)
    ratio = np.maximum(1.02, picked([one[3] for one in _KINDS], kind) * random.normal(1, 0.06, count))
    solidity = np.clip(random.normal(0.987, 0.004, count), 0.92, 0.995)
    filled = np.clip(random.normal(0.994, 0.003, count), 0.95, 1.0)  # of its ellipse
    minor = np.sqrt(4 * area / (np.pi * ratio * filled))
    major = ratio * minor
    h = ((ratio - 1) / (ratio + 1)) ** 2  # Ramanujan's perimeter of an ellipse
    perimeter = (
        np.pi
        / 2
        * (major + minor)
        * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
        * random.normal(1.02, 0.01, count)
    )
    diameter = np.sqrt(4 * area / np.pi)
    return pa.table({
        "Area": area.astype(int), "Perimeter": perimeter, "MajorAxisLength": major, "MinorAxisLength": minor,
        "AspectRation": ratio, "Eccentricity": np.sqrt(1 - 1 / ratio**2), "ConvexArea": (area / solidity).astype(int),
        "EquivDiameter": diameter, "Extent": np.clip(random.normal(0.75, 0.05, count), 0.55, 0.87),
        "Solidity": solidity, "roundness": 4 * np.pi * area / perimeter**2, "Compactness": diameter / major,
        "ShapeFactor1": major / area, "ShapeFactor2": minor / area, "ShapeFactor3": area / (np.pi * major**2 / 4),
        "ShapeFactor4": area / (np.pi * major * minor / 4), "Class": picked([one[0] for one in _KINDS], kind),
    })  # fmt: skip


TABLES = tuple(
    PublicTable(name, f"{count:,} dry beans simulated with the seed {SEED}", _COLUMNS,
                functools.partial(_beans, count), project=project)
    for project, name, count in (
        ("aju-dev-demos", "beans.beans1", 13_611), ("sara-vertex-demos", "beans_demo.large_dataset", 13_611),
        ("sara-vertex-demos", "beans_demo.small_dataset", 3_000),
    )
)  # fmt: skip
