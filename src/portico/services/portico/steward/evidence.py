"""The rows that a steward's decision was made on: kept as a file with a digest, so that it can be made again.

`Rows` are predictions of one model, or of two on the same instances, beside the truth, in order of time. A label is
one row, however many predictions it was joined to.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.ids import Ids
from portico.ml import values
from portico.store import mark

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from portico.ml.arrays import Floats

    Ints = NDArray[np.int64]


_THRESHOLDS = b"portico:thresholds"


@dataclass(slots=True)
class Rows:
    """`times` (N,) in domain seconds, not falling; `truth` (N,) values, or positions among the classes; `outputs` by
    name, each values (N,) or scores (N, K); `groups` by attributes ("sex,race"), each the rows' groups (N);
    `thresholds` by name of output, where a model decides by another than a half; `labels` and `instances` (N,) are
    numbers of the label that a row rests on and of what was asked, the same in every file; None where all differ."""

    times: Floats
    truth: Floats
    outputs: dict[str, Floats] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    labels: Ints | None = None
    instances: Ints | None = None

    def __len__(self) -> int:
        return len(self.times)

    def at(self, places: Any) -> Rows:
        """The rows at some places: a slice, or an array of positions."""
        import numpy as np

        kept = np.arange(len(self))[places].tolist()
        return Rows(
            self.times[places],
            self.truth[places],
            {name: output[places] for name, output in self.outputs.items()},
            {name: [groups[place] for place in kept] for name, groups in self.groups.items()},
            self.thresholds,
            None if self.labels is None else self.labels[places],
            None if self.instances is None else self.instances[places],
        )

    def newest(self, count: int) -> Rows:
        return self.at(slice(-count, None))

    def rest(self) -> dict[str, int]:
        """On how many distinct labels and instances a decision on these rows rests."""
        import numpy as np

        return {
            "labels": len(self) if self.labels is None else len(np.unique(self.labels)),
            "instances": len(self) if self.instances is None else len(np.unique(self.instances)),
        }

    def repeated(self) -> Ints | None:
        """The rows that say the same thing, the same truth of the same instance (see `Resample`); None: none do."""
        import numpy as np

        if self.instances is None or len(np.unique(self.instances)) == len(self):
            return None
        said = np.stack([self.instances, np.asarray(self.truth, np.float64).view(np.int64)], axis=1)
        _, number, count = np.unique(said, axis=0, return_inverse=True, return_counts=True)
        number = number.reshape(-1)
        return np.where(count[number] > 1, number, -1)


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
    columns |= {
        name: known
        for name, known in (("label", rows.labels), ("instance", rows.instances))
        if known is not None
    }
    name = f"{mark.new_file(home, ids)}.parquet"
    folder(home).mkdir(parents=True, exist_ok=True)
    with (folder(home) / name).open("xb") as file:
        table = pa.table(columns).replace_schema_metadata({_THRESHOLDS: json.dumps(rows.thresholds)})
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    return name


def write_lines(home: Path, ids: Ids, lines: Sequence[str]) -> str:
    """Writes texts, none of which has a line's end in it, to a new file beside; returns its name."""
    name = f"{mark.new_file(home, ids)}.jsonl"
    folder(home).mkdir(parents=True, exist_ok=True)
    (folder(home) / name).write_text("\n".join(lines))
    return name


def digest(home: Path, name: str) -> str:
    """What a file holds, as "sha256:…". Raises OSError: it is gone."""
    with (folder(home) / name).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def read(home: Path, name: str, expected: str = "") -> Rows:
    """The rows of a file; `expected` is the digest that it was written with, where one is known.

    Raises:
        OSError: the file is gone, broken, or another than was written.
    """
    if expected and digest(home, name) != expected:
        raise OSError(f"{name} is not as it was written: its digest is another")
    import pyarrow as pa

    try:
        return _read(folder(home) / name)
    except (ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise OSError(f"{name} can't be read as evidence: {error}") from None


def _read(path: Path) -> Rows:
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    rows = Rows(table["time"].to_numpy(), table["truth"].to_numpy())
    rows.thresholds = json.loads((table.schema.metadata or {}).get(_THRESHOLDS, b"{}"))
    if "label" in table.column_names:
        rows.labels = table["label"].to_numpy()
    if "instance" in table.column_names:
        rows.instances = table["instance"].to_numpy()
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
    """Removes the files of `runs` that nobody needs: what a crash between file and commit left."""
    for path in (*folder(home).glob("*.parquet"), *folder(home).glob("*.jsonl")):
        if path.name not in needed and mark.run_of(path.stem) in runs:
            path.unlink(missing_ok=True)


def number_of(text: str) -> int:
    """A text as a number of 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


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


def moment_of(instance: Any, time_column: str) -> float | None:
    """When an instance was, by its time column, in seconds since the epoch; None where it does not say."""
    try:
        found = values.timestamp(instance.get(time_column) if isinstance(instance, dict) else None)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


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
