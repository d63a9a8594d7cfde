"""The rows that a steward's decision was made on: kept as a file, so that it can be made again.

`Rows` are predictions of one model, or of two on the same instances, beside the truth, in order of time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.ids import Ids
from portico.ml import values
from portico.store import mark

if TYPE_CHECKING:
    from portico.ml.arrays import Floats


_THRESHOLDS = b"portico:thresholds"


@dataclass(slots=True)
class Rows:
    """`times` (N,) in domain seconds, not falling; `truth` (N,) values, or positions among the classes; `outputs` by
    name, each values (N,) or scores (N, K); `groups` by attributes ("sex,race"), each the rows' groups (N);
    `thresholds` by name of output, where a model decides by another than a half."""

    times: Floats
    truth: Floats
    outputs: dict[str, Floats] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    def newest(self, count: int) -> Rows:
        return Rows(
            self.times[-count:],
            self.truth[-count:],
            {name: output[-count:] for name, output in self.outputs.items()},
            {name: groups[-count:] for name, groups in self.groups.items()},
            self.thresholds,
        )


def nothing() -> Rows:
    """No rows: of decisions that need none."""
    import numpy as np

    return Rows(np.zeros(0), np.zeros(0))


def folder(home: Path) -> Path:
    return home / "warehouse" / "evidence"


def write(home: Path, ids: Ids, rows: Rows) -> str:
    """Writes `rows` to a new file, on disk when this returns; returns its name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"time": rows.times, "truth": rows.truth}
    for name, output in rows.outputs.items():
        columns[f"output:{name}"] = pa.array(list(output)) if output.ndim == 2 else output
    columns |= {f"group:{name}": groups for name, groups in rows.groups.items()}
    name = f"{mark.new_file(home, ids)}.parquet"
    folder(home).mkdir(parents=True, exist_ok=True)
    with (folder(home) / name).open("xb") as file:
        table = pa.table(columns).replace_schema_metadata({_THRESHOLDS: json.dumps(rows.thresholds)})
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    return name


def read(home: Path, name: str) -> Rows:
    """
    Raises:
        OSError: the file is gone or broken.
    """
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(folder(home) / name, use_threads=False)
    rows = Rows(table["time"].to_numpy(), table["truth"].to_numpy())
    rows.thresholds = json.loads((table.schema.metadata or {}).get(_THRESHOLDS, b"{}"))
    for column in table.column_names:
        if column.startswith("output:"):
            cells = table[column].to_numpy()
            rows.outputs[column.removeprefix("output:")] = np.stack(cells) if cells.dtype == object else cells
        if column.startswith("group:"):
            rows.groups[column.removeprefix("group:")] = table[column].to_pylist()
    return rows


def remove(home: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder(home) / name).unlink(missing_ok=True)


def sweep(home: Path, needed: set[str], runs: set[str]) -> None:
    """Removes the files of `runs` that no decision names: what a crash between file and commit left."""
    for path in folder(home).glob("*.parquet"):
        if path.name not in needed and mark.run_of(path.stem) in runs:
            path.unlink(missing_ok=True)


def truth_of(label: Any, classes: Sequence[str]) -> float:
    """A label as a number: the value, or the class's position; NaN for what is neither."""
    if classes:
        try:
            text = values.category(label)
        except ValueError:
            return float("nan")
        return float(classes.index(text)) if text in classes else float("nan")
    try:
        return float(label)
    except (TypeError, ValueError):
        return float("nan")


def output_of(answer: Any, classes: Sequence[str]) -> Any:
    """A prediction as a number or as scores in the order of `classes`; None for what is neither.

    Takes Google's shapes of AutoML tabular predictions, and what custom models answer: a number or a list of scores;
    the second of two classes' probability; or just the name of the class.
    """
    if classes:
        scores = answer
        if isinstance(answer, str) and answer in classes:
            scores = [float(name == answer) for name in classes]
        elif isinstance(answer, int | float) and len(classes) == 2 and 0 <= answer <= 1:
            scores = [1 - answer, answer]
        elif isinstance(answer, Mapping) and "scores" in answer:
            named = dict(zip(answer.get("classes") or classes, answer["scores"], strict=False))
            scores = [named.get(name, 0.0) for name in classes]
        good = isinstance(scores, list) and len(scores) == len(classes)
        return scores if good and all(isinstance(s, int | float) for s in scores) else None
    value = answer.get("value") if isinstance(answer, Mapping) else answer
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
