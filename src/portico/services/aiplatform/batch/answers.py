"""What a model says about the rows of a chunk, and how batch output writes it: JSON texts and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Output(Protocol):
    """Predictions of some rows, in order."""

    def texts(self) -> list[bytes]:
        """Each prediction as the JSON that online prediction answers with."""
        ...

    def columns(self, rows: np.ndarray, nested: bool) -> dict[str, pa.Array]:
        """The predictions of `rows` as columns; with `nested` lists stay lists, else they are JSON text."""
        ...

    def cells(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """The predictions of `rows` as columns of a BigQuery table."""
        ...


@dataclass(slots=True)
class Answers:
    """`bad` says by position which rows have no prediction, and why. `explanations` are JSON texts."""

    output: Output
    bad: dict[int, str] = field(default_factory=dict)
    explanations: list[bytes] = field(default_factory=list)
    _texts: list[bytes] | None = None

    def texts(self) -> list[bytes]:
        """As the output's, made once."""
        if self._texts is None:
            self._texts = self.output.texts()
        return self._texts

    def good(self, total: int) -> np.ndarray:
        """Which of the `total` rows have a prediction."""
        import numpy as np

        if not self.bad:
            return np.arange(total)
        mask = np.ones(total, bool)
        mask[list(self.bad)] = False
        return np.flatnonzero(mask)


@dataclass(slots=True)
class Classes:
    """Google's `{"classes": [...], "scores": [...]}`; in tables a column `TARGET_CLASS_scores` for each class.

    A model with a `threshold` says what it decides too: "decision", in tables the column `predicted_TARGET`.
    """

    target: str
    labels: Sequence[str]
    scores: np.ndarray  # rows × classes
    threshold: float | None = None

    def texts(self) -> list[bytes]:
        head = b'{"classes":' + orjson.dumps(list(self.labels)) + b',"scores":['
        rows = number_rows(self.scores)
        if self.threshold is None:
            return [head + row + b"]}" for row in rows]
        tails = [b'],"decision":' + orjson.dumps(label) + b"}" for label in self.labels]
        chosen = (self.scores[:, 1] >= self.threshold).astype(int).tolist()
        return [head + row + tails[decision] for row, decision in zip(rows, chosen, strict=True)]

    def columns(self, rows: np.ndarray, nested: bool) -> dict[str, pa.Array]:
        import pyarrow as pa

        made = {
            f"{self.target}_{label}_scores": pa.array(self.scores[rows, position])
            for position, label in enumerate(self.labels)
        }
        if self.threshold is not None:
            chosen = (self.scores[rows, 1] >= self.threshold).astype(int)
            made[f"predicted_{self.target}"] = pa.array(
                [self.labels[c] for c in chosen.tolist()], pa.string()
            )
        return made

    def cells(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """`predicted_TARGET`, a struct as the JSON is one."""
        import pyarrow as pa

        scores = self.scores[rows]
        classes = [list(self.labels)] * len(rows)
        parts = {
            "classes": pa.array(classes, pa.list_(pa.string())),
            "scores": pa.array(scores.tolist(), pa.list_(pa.float64())),
        }
        if self.threshold is not None:
            chosen = (scores[:, 1] >= self.threshold).astype(int).tolist()
            parts["decision"] = pa.array([self.labels[c] for c in chosen], pa.string())
        return {f"predicted_{self.target}": pa.StructArray.from_arrays(list(parts.values()), list(parts))}


@dataclass(slots=True)
class Values:
    """Google's `{"value": v, "lower_bound": l, "upper_bound": u}`; in tables `predicted_TARGET` and its bounds."""

    target: str
    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def texts(self) -> list[bytes]:
        columns = (numbers(self.values), numbers(self.lower), numbers(self.upper))
        return [b'{"value":%b,"lower_bound":%b,"upper_bound":%b}' % row for row in zip(*columns, strict=True)]

    def columns(self, rows: np.ndarray, nested: bool) -> dict[str, pa.Array]:
        import pyarrow as pa

        name = f"predicted_{self.target}"
        return {
            name: pa.array(self.values[rows]),
            f"{name}_lower_bound": pa.array(self.lower[rows]),
            f"{name}_upper_bound": pa.array(self.upper[rows]),
        }

    def cells(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """`predicted_TARGET`, a struct as the JSON is one."""
        import pyarrow as pa

        parts = [pa.array(part[rows]) for part in (self.values, self.lower, self.upper)]
        names = ["value", "lower_bound", "upper_bound"]
        return {f"predicted_{self.target}": pa.StructArray.from_arrays(parts, names)}


@dataclass(slots=True)
class Forecasts:
    """Google's `{"value": v}` of a forecast, with `quantile_values` and `quantile_predictions` where there are
    `quantiles`; in tables `predicted_TARGET` and, of files, a column each of these lists."""

    target: str
    values: np.ndarray
    quantiles: Sequence[float]
    of_quantiles: np.ndarray  # rows × quantiles

    def texts(self) -> list[bytes]:
        values = [b'{"value":' + text for text in numbers(self.values)]
        if not self.quantiles:
            return [text + b"}" for text in values]
        head = b',"quantile_values":' + orjson.dumps(list(self.quantiles)) + b',"quantile_predictions":['
        rows = number_rows(self.of_quantiles)
        return [text + head + row + b"]}" for text, row in zip(values, rows, strict=True)]

    def columns(self, rows: np.ndarray, nested: bool) -> dict[str, pa.Array]:
        import pyarrow as pa

        name = f"predicted_{self.target}"
        made: dict[str, Any] = {name: pa.array(self.values[rows])}
        for key, cells in self._lists(rows).items():
            texts = [orjson.dumps(cell).decode() for cell in cells]
            made[f"{name}_{key}"] = pa.array(cells if nested else texts)
        return made

    def cells(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """`predicted_TARGET`, a struct as the JSON is one."""
        import pyarrow as pa

        parts: dict[str, Any] = {"value": pa.array(self.values[rows])}
        for key, cells in self._lists(rows).items():
            parts[key] = pa.array(cells, pa.list_(pa.float64()))
        return {f"predicted_{self.target}": pa.StructArray.from_arrays(list(parts.values()), list(parts))}

    def _lists(self, rows: np.ndarray) -> dict[str, list[list[float]]]:
        if not self.quantiles:
            return {}
        return {
            "quantile_values": [list(self.quantiles)] * len(rows),
            "quantile_predictions": self.of_quantiles[rows].tolist(),
        }


@dataclass(slots=True)
class Numbers:
    """A number, or a list of numbers, for each row; in tables the column `prediction`."""

    outputs: np.ndarray  # rows, or rows × outputs

    def texts(self) -> list[bytes]:
        if self.outputs.ndim == 1:
            return numbers(self.outputs)
        return [b"[" + row + b"]" for row in number_rows(self.outputs)]

    def columns(self, rows: np.ndarray, nested: bool) -> dict[str, pa.Array]:
        import pyarrow as pa

        chosen = self.outputs[rows]
        if chosen.ndim == 1:
            return {"prediction": pa.array(chosen)}
        if nested:
            return {"prediction": pa.array(list(chosen))}
        return {"prediction": pa.array([b"[%b]" % row for row in number_rows(chosen)]).cast(pa.string())}

    def cells(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """`prediction`: JSON text, as BigQuery has what a user's model says."""
        import pyarrow as pa

        texts = Numbers(self.outputs[rows]).texts()
        return {"prediction": pa.array(texts, pa.binary()).cast(pa.string())}


@dataclass(slots=True)
class Json:
    """Any JSON values; in tables the column `prediction`."""

    values: list[Any]

    def texts(self) -> list[bytes]:
        return [orjson.dumps(value) for value in self.values]

    def columns(self, rows: np.ndarray, nested: bool) -> dict[str, pa.Array]:
        import pyarrow as pa

        chosen = [self.values[row] for row in rows.tolist()]
        if nested or not any(isinstance(value, list | dict) for value in chosen):
            try:
                return {"prediction": pa.array(chosen)}
            except pa.ArrowException:
                pass  # values of several types
        return self.cells(rows)

    def cells(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """`prediction`: text as it is, all else as JSON text."""
        import pyarrow as pa

        chosen = [self.values[row] for row in rows.tolist()]
        texts = [v if isinstance(v, str) else orjson.dumps(v).decode() for v in chosen]
        return {"prediction": pa.array(texts, pa.string())}


def numbers(values: np.ndarray) -> list[bytes]:
    """Each of `values` (rows,) as JSON; what is not finite is null."""
    if not len(values):
        return []
    return _dumps(values)[1:-1].split(b",")


def number_rows(values: np.ndarray) -> list[bytes]:
    """The numbers of each row of `values` (rows × n) as JSON, separated by commas."""
    if not len(values):
        return []
    return _dumps(values)[2:-2].split(b"],[")


def _dumps(values: np.ndarray) -> bytes:
    import numpy as np

    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
