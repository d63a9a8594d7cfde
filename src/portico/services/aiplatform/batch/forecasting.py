"""A forecasting model as a batch job asks it: of all rows together, for what follows each series' known ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from portico.errors import FailedPrecondition, InvalidArgument
from portico.jobs.worker import Context
from portico.ml.errors import DataError
from portico.services.aiplatform.batch.answers import Answers, Forecasts
from portico.services.aiplatform.batch.instances import Lines, Table
from portico.services.aiplatform.batch.read import Chunk
from portico.services.standard import sources
from portico.services.standard.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

    from portico.ml.forecast.model import Forecast


class ForecastingModel:
    """Only rows whose target is empty are answered; those with one are the context."""

    def __init__(self, path: Path, threads: int) -> None:
        from portico.ml.forecast.model import ForecastModel

        self._model = ForecastModel.load(path, threads)
        self._forecast: Forecast | None = None
        self._rows: list[int] = []  # of the table, in the order in which chunks have them
        self._place: dict[int, int] = {}  # of a row, in the forecast

    def chunks(self, context: Context, pinned: Sequence[Source], form: str, most: int) -> Iterator[Chunk]:
        """The rows to answer, at most `most` a chunk, after all have been read and forecast.

        Raises:
            InvalidArgument: the rows can't be read, or lack a column of the model's, or none is to be forecast.
        """
        import numpy as np

        try:
            read = sources.read_table(context.home, pinned, form, "inputConfig")
            found = self._forecast = self._model.forecast(read.table)
        except DataError as error:
            raise InvalidArgument(f"{error.message}.", field=error.field) from None
        for note in read.notes:
            context.say(note)
        if found.gaps:
            context.say(
                f"{found.gaps:,} rows without a target have a known one after them: they are gaps in the history and "
                "are not forecast"
            )
        self._place = {row: place for place, row in enumerate(found.rows.tolist())}
        self._rows = sorted({*self._place, *found.bad})
        total = sum(source.size for source in pinned)
        for start in range(0, len(self._rows), most):
            rows = self._rows[start : start + most]
            batch = _batch(read.table, np.array(rows))
            done = total * (start + len(rows)) // len(self._rows)
            yield Chunk(pinned[0].uri, start, done, start, batch=batch)

    def answer(self, instances: Lines | Table, explain: bool) -> Answers:
        """Of the rows of one of the `chunks`.

        Raises:
            FailedPrecondition: they are others, of which it is asked row by row.
        """
        import numpy as np

        if self._forecast is None or not isinstance(instances, Table):
            raise FailedPrecondition(
                "A forecasting model has no answer to single rows: batch predict whole series."
            )
        found = self._forecast
        rows = self._rows[instances.start : instances.start + len(instances)]
        bad = {
            number: f"Row {row}: {found.bad[row]}." for number, row in enumerate(rows) if row in found.bad
        } | instances.bad
        places = np.array([self._place.get(row, -1) for row in rows])
        values = np.where(places >= 0, found.values[places] if len(found.values) else np.nan, np.nan)
        quantiles = np.full((len(rows), found.quantiles.shape[1]), np.nan)
        quantiles[places >= 0] = found.quantiles[places[places >= 0]]
        output = Forecasts(self._model.spec.target, values, self._model.quantiles, quantiles)
        answers = Answers(output, bad)
        if explain:
            good = [number for number in range(len(rows)) if number not in bad]
            told: list[Any] = [None] * len(rows)
            for number, one in zip(good, self._model.explain(found.seen, places[good].tolist()), strict=True):
                told[number] = one
            answers.explanations = [orjson.dumps(one) for one in told]
        return answers


def _batch(table: pa.Table, rows: Any) -> pa.RecordBatch:
    import pyarrow as pa

    taken = table.take(pa.array(rows)).combine_chunks()
    return pa.RecordBatch.from_arrays(
        [
            pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
            for column in taken.columns
        ],
        names=taken.schema.names,
    )
