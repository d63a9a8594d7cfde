"""The work of a batch prediction job: read, predict, write, in parallel and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from portico.errors import FailedPrecondition, NotFound
from portico.jobs.worker import Context
from portico.ml import pace
from portico.services.aiplatform.batch import read as batch_read
from portico.services.aiplatform.batch import tables
from portico.services.aiplatform.batch import write as batch_write
from portico.services.aiplatform.batch.forecasting import ForecastingModel
from portico.services.aiplatform.batch.instances import InstanceConfig, Lines, Table
from portico.services.aiplatform.batch.log import BatchLog, Plan, Rows
from portico.services.aiplatform.batch.opening import Asked, opened
from portico.services.aiplatform.batch.read import Chunk
from portico.services.aiplatform.batch.write import Piece
from portico.services.registry.model_store import VersionPrivate
from portico.services.standard import bq
from portico.services.standard.jobs import JobPrivate
from portico.services.standard.sources import Source, gcs_of, pin
from portico.store import resources
from portico.store.objects.files import remove
from portico.store.resources import Resource

_EXPLAINED_ROWS = 256  # at once, so that the job tells how far it is also where a row takes a second
_MOST_FAILURES = 20  # BatchPredictionJob.partialFailures never has more

_T = TypeVar("_T")
_R = TypeVar("_R")


class BatchPrivate(JobPrivate):
    """`version` is the row of the model's; `pins` the generations that the job reads; `directory` where its output
    goes (in BigQuery the table's `bq://` name), and `published` the [name, generation] of what is there;
    `explanation` the spec in force. `fields` are the columns of the table that the job reads, which it pins when it
    starts."""

    version: str = ""
    pins: list[Source] = []
    directory: str = ""
    published: list[list[Any]] = []
    explanation: dict[str, Any] = {}
    fields: list[dict[str, Any]] = []
    log: Plan = msgspec.field(default_factory=Plan)


@dataclass(slots=True)
class _Count:
    good: int = 0
    failed: int = 0
    first_error: str = ""
    failures: list[str] = field(default_factory=list)


def run(context: Context) -> dict[str, Any]:
    """Job: predicts every row of the input that was pinned when the job was made, or of a table when it starts.

    Raises:
        FailedPrecondition: nothing could be predicted; the error file says why of each row.
    """
    with context.database.read() as connection:
        job = resources.get(connection, context.job.resource)
        if job is None:
            raise NotFound(f"{context.job.resource} was deleted.")
        version = resources.get(connection, BatchPrivate.of(job).version)
    if version is None:
        raise FailedPrecondition(f"The Model version {BatchPrivate.of(job).version} was deleted meanwhile.")
    started = context.clock.monotonic()
    body = job.body
    output_format = body["outputConfig"]["predictionsFormat"]
    explain = bool(body.get("generateExplanation"))
    config = InstanceConfig.from_json(body.get("instanceConfig") or {})
    private = BatchPrivate.of(job)
    format = VersionPrivate.of(version).format
    pinned = _pinned(context, job)
    total = sum(source.size for source in pinned) or 1
    count = _Count()
    context.progress(0.0, "loading the model")
    with (
        opened(context, version, _asked(job)) as (model, workers, max_rows),
        batch_write.Outputs(context.home, context.ids, output_format, explain) as outputs,
        BatchLog(context, job, version, private.log) as log,
        ThreadPoolExecutor(workers, "batch") as pool,
    ):
        named = format in ("portico", "forecast")
        as_array = config.instance_type == "array" or (not config.instance_type and not named)

        def work(chunk: Chunk) -> tuple[Chunk, Piece | None, Rows | None]:
            if chunk.failure:
                return chunk, None, None
            instances = Lines(chunk, config) if chunk.batch is None else Table(chunk, config, as_array)
            answers = model.answer(instances, explain)
            logged = log.rows(chunk.number, instances, answers)
            return chunk, batch_write.render(instances, answers, output_format), logged

        # Portico's own models read a cell by what it says; for all others quotes make a string of it.
        quotes = not named
        rows = min(max_rows, _EXPLAINED_ROWS) if explain else max_rows
        form = "parquet" if private.fields else body["inputConfig"]["instancesFormat"]
        chunks = (
            model.chunks(context, pinned, form, rows)
            if isinstance(model, ForecastingModel)
            else batch_read.read(pinned, context.home, form, rows, quotes)
        )
        for chunk, piece, logged in _in_order(pool, work, chunks, workers + 1):
            context.check()
            if piece is None:
                count.failures.append(chunk.failure)
                continue
            outputs.write(piece)
            log.take(logged)
            count.good += piece.good
            count.failed += piece.failed
            count.first_error = count.first_error or piece.first_error
            done = chunk.done / total
            rest = pace.left(context.clock.monotonic() - started, done)
            context.progress(0.99 * done, f"{count.good + count.failed:,} rows{rest}")
        context.check()
        _publish(context, pinned, outputs, log, count, (context.clock.monotonic() - started) * workers / 3600)
    if count.good == 0 and (count.failed or count.failures):
        reason = count.failures[0] if count.failures else count.first_error
        raise FailedPrecondition(f"Not one row could be predicted. The first reason: {reason}")
    return {"successful": count.good, "failed": count.failed}


def _asked(job: Resource) -> Asked:
    tuning = job.body.get("manualBatchTuningParameters") or {}
    return Asked(
        job.body.get("dedicatedResources") or {},
        tuning.get("batchSize") or 0,
        BatchPrivate.of(job).explanation,
        job.body.get("modelParameters"),
    )


def _pinned(context: Context, job: Resource) -> list[Source]:
    if not BatchPrivate.of(job).fields:
        return BatchPrivate.of(job).pins
    uri = job.body["inputConfig"]["bigquerySource"]["inputUri"]
    return pin(gcs_of(context), [uri], job.name, "inputConfig.bigquerySource.inputUri")


def _publish(
    context: Context,
    pinned: list[Source],
    outputs: batch_write.Outputs,
    log: BatchLog,
    count: _Count,
    replica_hours: float,
) -> None:
    """Makes the output and what is logged visible and notes it on the job, in one transaction."""
    files = outputs.finish()
    log.finish()
    with context.database.read() as connection:
        job = resources.get(connection, context.job.resource)
    if job is not None and BatchPrivate.of(job).directory.startswith(bq.SCHEME):
        tables.put(context, BatchPrivate.of(job).directory, BatchPrivate.of(job).fields, files)
    now = context.clock.now()
    with context.database.write() as connection:
        job = resources.get(connection, context.job.resource)
        if job is None:
            raise NotFound(f"{context.job.resource} was deleted.")
        body = job.body
        private = BatchPrivate.of(job)
        directory = private.directory
        private.pins = pinned
        to_table = directory.startswith(bq.SCHEME)
        if to_table:
            garbage: list[str] = []
            dataset, _, table = directory.rpartition(".")
            body["outputInfo"] = {"bigqueryOutputDataset": dataset, "bigqueryOutputTable": table}
        else:
            garbage = batch_write.withdraw(connection, directory, private.published, now)
            private.published, dropped = batch_write.publish(
                connection, directory, body["outputConfig"]["predictionsFormat"], files, now
            )
            garbage += dropped
            body["outputInfo"] = {"gcsOutputDirectory": directory}
        body["completionStats"] = {
            "successfulCount": str(count.good),
            "failedCount": str(count.failed),
            # Of a file that can't be read on, nobody knows how many rows it would have had.
            "incompleteCount": "-1" if count.failures else "0",
        }
        failures = [{"code": 3, "message": message} for message in count.failures[:_MOST_FAILURES]]
        if failures:
            body["partialFailures"] = failures
        body["resourcesConsumed"] = {"replicaHours": replica_hours}
        log.add(connection, private.log)
        resources.update(connection, job, now)
    if not to_table:
        outputs.keep()
    log.keep()
    remove(context.home, garbage)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T], ahead: int
) -> Iterator[_R]:
    """`work` of each item, in their order, with at most `ahead` of them under way."""
    waiting: deque[Future[_R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
