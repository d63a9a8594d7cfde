"""What BigQuery's jobs do: each runs in a thread that asks the warehouse, and writes down how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import BY_CODE, Cancelled, InvalidArgument, PorticoError, Unimplemented
from portico.services.bigquery import (
    external_databases,
    model_files,
    models,
    permissions,
    registering,
    script_jobs,
    settings,
    shapes,
)
from portico.services.bigquery.outside import outside
from portico.services.call import Call
from portico.services.standard.sources import gcs_of
from portico.store import resources, usage
from portico.store.resources import Resource
from portico.warehouse.client import ANONYMOUS, FOLDER

TOLD = "_told"  # of a job's row: the location whose data sets it finds
_THREADS = ThreadPoolExecutor(16, thread_name_prefix="bigquery")
_running: dict[str, Future[None]] = {}
_OUTSIDE = "/outside"  # behind a job's name: what it holds of what is not in the warehouse
_AGAIN = 0.1  # seconds after which what did not stop is told again


def check(call: Call, kind: str, configuration: dict[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: what a job of this kind needs is missing. Unimplemented: it asks for what is not built.
    """
    asked = configuration[kind]
    settings.count(configuration, "jobTimeoutMs")
    settings.check_words(asked)
    if kind == "query":
        settings.count(asked, "maximumBytesBilled")
        if not str(asked.get("query") or "").strip():
            raise InvalidArgument("Required parameter is missing: query", reason="required")
        if asked.get("useLegacySql"):
            raise Unimplemented("Legacy SQL is not built in Portico; set useLegacySql to false.")
    elif kind == "load" and (asked.get("createSession") or asked.get("connectionProperties")):
        raise Unimplemented("Loads into a session's temporary tables are not built in Portico.")
    elif kind == "extract" and asked.get("sourceModel"):
        model_files.check(asked)
    elif not asked.get("sourceTable" if kind == "extract" else "destinationTable"):
        raise InvalidArgument(f"Required parameter is missing: {kind}'s table", reason="required")


@dataclass(slots=True)
class First:
    """A query's first rows, which come along with its end: how many are asked for, and what came of them."""

    most: int
    times: str
    page: dict[str, Any] | None = None


def start(call: Call, name: str, first: First | None = None) -> None:
    """Runs the job that is written down under `name`."""
    _running[name] = future = _THREADS.submit(_run, call, name, first)
    future.add_done_callback(lambda _: _running.pop(name, None))


async def ended(name: str, seconds: float) -> bool:
    """Whether the job has ended, after `seconds` at most; no thread waits."""
    future = _running.get(name)
    if future is None:
        return True
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), seconds)
    except TimeoutError:
        return False
    return True


def settled(call: Call, found: Resource) -> Resource:
    """A job that ran when Portico ended is told as what it is: done where its change was committed, else failed."""
    if found.body["status"]["state"] != "RUNNING" or found.name in _running:
        return found
    kept = shapes.ask(call, "finished", job=found.name)
    with call.rooms.database.write() as connection:
        current = resources.get(connection, found.name)
        if current is None or current.body["status"]["state"] != "RUNNING":
            return current or found
        current.body["status"] = {"state": "DONE"}
        if not kept:
            error = {
                "reason": "stopped",
                "message": "Portico ended while the job ran; only what a script had done by then was kept.",
            }
            current.body["status"] |= {"errorResult": error, "errors": [error]}
        current.body["statistics"]["endTime"] = str(int(call.rooms.clock.now() * 1000))
        return resources.update(connection, current, call.rooms.clock.now())


def _run(call: Call, name: str, first: First | None) -> None:
    with call.rooms.database.read() as connection:
        job = resources.get(connection, name)
    assert job is not None
    configuration = job.body["configuration"]
    kind = str(configuration["jobType"]).lower()
    status: dict[str, Any] = {"state": "DONE"}
    private: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    stop = _Stop(call, name, settings.count(configuration, "jobTimeoutMs"))
    try:
        with stop:
            ran = _query(call, job, first) if kind == "query" else _KINDS[kind](call, job)
            statistics, private, warnings = ran
        if warnings:
            status["errors"] = [{"reason": "invalid", "message": one} for one in warnings]
    except PorticoError as error:
        error = stop.instead_of(error)
        shown = shapes.error_result(error.code, error.message, error.reason, query=kind == "query")
        status |= {"errorResult": shown, "errors": [shown]}
    except Exception as error:
        status["errorResult"] = {
            "reason": "internalError",
            "message": f"An internal error occurred: {type(error).__name__}",
        }
        status["errors"] = [status["errorResult"]]
        raise
    finally:
        now = call.rooms.clock.now()
        with call.rooms.database.write() as connection:
            current = resources.get(connection, name)
            if current is not None:
                current.body["status"] = status
                current.body["configuration"] = configuration
                current.body["statistics"] |= {"endTime": str(int(now * 1000)), **statistics}
                current.private = private
                resources.update(connection, current, now)
                billed = float((statistics.get("query") or {}).get("totalBytesBilled") or 0)
                project = str(current.body["jobReference"]["projectId"])
                usage.add(connection, now, project, usage.QUERIES, name, billed, configuration.get("labels"))


def interrupt(call: Call, name: str) -> None:
    """Stops what the job does at the moment, here and in the warehouse."""
    external_databases.stop(f"{name}{_OUTSIDE}")
    shapes.ask(call, "cancel", job=name)


class _Stop:
    """Cancels a job that is at work when its time is over; milliseconds, none for no end."""

    def __init__(self, call: Call, name: str, most: int | None) -> None:
        self._call, self._name, self._most = call, name, most
        self._ended, self._over = threading.Event(), False

    def __enter__(self) -> None:
        if self._most is not None:
            threading.Thread(target=self._watch, args=(self._most / 1000,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            return
        self._over = True
        while not self._ended.wait(_AGAIN):  # what it does can't always be interrupted
            with contextlib.suppress(PorticoError):
                interrupt(self._call, self._name)

    def instead_of(self, error: PorticoError) -> PorticoError:
        if not self._over:
            return error
        return Cancelled(
            f"Job execution was cancelled: Job timed out after {(self._most or 0) / 1000:g} sec",
            reason="stopped",
        )


_CODES = {"notFound": "NOT_FOUND", "duplicate": "ALREADY_EXISTS", "notImplemented": "UNIMPLEMENTED",
          "accessDenied": "PERMISSION_DENIED", "internalError": "INTERNAL", "stopped": "CANCELLED"}  # fmt: skip


def raised(error: dict[str, Any]) -> PorticoError:
    """A job's errorResult as what a request is refused with."""
    kind = BY_CODE.get(_CODES.get(error["reason"], "INVALID_ARGUMENT"), InvalidArgument)
    return kind(error["message"], reason=error["reason"])


Ran = tuple[dict[str, Any], dict[str, Any], list[str]]


def _entry(reference: dict[str, Any], project: str) -> dict[str, str]:
    """A table of a configuration."""
    return {
        "project": reference.get("projectId") or project,
        "dataset": shapes.check_dataset_id(str(reference.get("datasetId", ""))),
        "table": shapes.check_decorated(str(reference.get("tableId", ""))),
    }


def _query(call: Call, job: Resource, first: First | None) -> Ran:
    reference = job.body["jobReference"]
    asked = job.body["configuration"]["query"]
    default = asked.get("defaultDataset") or {}
    destination = asked.get("destinationTable")
    dry = bool(job.body["configuration"].get("dryRun"))
    made = {key: asked[key] for key in _MADE if asked.get(key)}
    text = str(asked["query"])
    with (
        model_files.imported(call, job.name, text) as files,
        model_files.exported(call, text) as exports,
        outside(call, f"{job.name}{_OUTSIDE}") as reach,
    ):
        told = shapes.ask(
            call,
            "query",
            reach,
            job=job.name,
            project=reference["projectId"],
            text=asked["query"],
            dataset=".".join(filter(None, (default.get("projectId"), default.get("datasetId")))),
            dataset_project=settings.connection(asked).get("dataset_project_id", ""),
            parameters=asked.get("queryParameters") or [],
            dry=dry,
            destination=_entry(destination, reference["projectId"]) if destination else None,
            create=settings.create(asked),
            write=settings.write(asked),
            settings=made,
            caller=job.body["user_email"],
            most_billed=settings.count(asked, "maximumBytesBilled"),
            session=(job.body["statistics"].get("sessionInfo") or {}).get("sessionId", ""),
            begins=bool(asked.get("createSession")) and not dry,
            cached=asked.get("useQueryCache", True),
            tables=asked.get("tableDefinitions") or {},
            files=files,
            exports=exports,
            guarded=not call.caller.owner,
            location=reference["location"],
            told=job.body.get(TOLD, ""),
            first={"most": first.most, "times": first.times} if first else None,
        )
    if first and "rows" in told:
        first.page = told
    registering.register(call, told["registers"])
    script_jobs.write(call, job, told["children"])
    if error := told.get("error"):
        raise BY_CODE.get(error["code"], InvalidArgument)(error["message"], reason=error["reason"])
    target = told["target"]
    if not destination and told["kind"] == "SELECT":
        place = shapes.table_reference(reference["projectId"], ANONYMOUS, reference["jobId"])
        asked["destinationTable"] = place
    elif target and target[2] and told["operation"] != "DROP" and told["statements"] == 1:
        asked["destinationTable"] = shapes.table_reference(*target)
    shown = script_jobs.statistics(told, dry)
    statistics = {"totalBytesProcessed": str(told["bytes"]), "query": shown}
    if told["kind"] == "CREATE_MODEL" and told["operation"] != "SKIP" and not dry:
        shown["mlStatistics"] = models.ml_statistics(call, *target)
    if not dry:
        statistics["totalSlotMs"] = shown["totalSlotMs"] = told["slot_ms"]
    if told.get("transaction"):
        statistics["transactionInfo"] = {"transactionId": told["transaction"]}
    return statistics, {
        "fields": told["fields"] if told["kind"] in ("SELECT", *_SHOWING) else [],
        "kind": told["kind"],
        "affected": told["affected"],
        "appended": destination if told["appended"] else None,
    }, told["warnings"]  # fmt: skip


# What a query says of the table that it makes.
_MADE = (
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "schemaUpdateOptions",
    "destinationEncryptionConfiguration",
)
# Statements whose result has columns, and no rows: those of what they make.
_SHOWING = ("CREATE_TABLE", "CREATE_TABLE_AS_SELECT", "CREATE_VIEW", "CREATE_MATERIALIZED_VIEW")


def _load(call: Call, job: Resource) -> Ran:
    asked = job.body["configuration"]["load"]
    uris = asked.get("sourceUris") or []
    if not uris and call.upload is None:
        raise InvalidArgument("Load configuration must specify at least one source URI", reason="required")
    shows = asked.get("referenceFileSchemaUri")
    with _files(call, job.name, uris) as files, outside(call, f"{job.name}{_OUTSIDE}") as reach:
        reference = reach("files", {"uris": [shows]})[0]["path"] if shows else ""
        told = _loaded(call, job, asked, files, reference)
    statistics = {
        "inputFiles": str(len(files)),
        "inputFileBytes": str(told["bytes"]),
        "outputRows": str(told["rows"]),
        "outputBytes": str(told["bytes"]),
        "badRecords": str(len(told["bad"])),
    }
    return {"load": statistics}, {}, told["bad"]


def _loaded(
    call: Call, job: Resource, asked: dict[str, Any], files: list[dict[str, str]], reference: str
) -> dict[str, Any]:
    project = job.body["jobReference"]["projectId"]
    told: dict[str, Any] = shapes.ask(
        call,
        "load",
        job=job.name,
        destination=_entry(asked["destinationTable"], project),
        files=files,
        reference=reference,
        told=job.body.get(TOLD, ""),
        form=str(asked.get("sourceFormat") or "CSV").upper(),
        options={
            key: value
            for key, value in asked.items()
            if key not in ("schema", "sourceUris", "destinationTable")
        },
        schema=(asked.get("schema") or {}).get("fields"),
        create=settings.create(asked),
        write=settings.write(asked, "WRITE_APPEND"),
        caller=job.body["user_email"],
    )
    return told


@contextlib.contextmanager
def _files(call: Call, holder: str, uris: list[str]) -> Iterator[list[dict[str, str]]]:
    """The file that came along, or the objects that URIs with wildcards name: those of this moment, kept meanwhile."""
    if call.upload is not None:
        try:
            yield [{"path": str(call.upload), "uri": "the uploaded file"}]
        finally:
            call.upload.unlink(missing_ok=True)
        return
    with outside(call, holder) as reach:
        yield reach("files", {"uris": uris})


def _extract(call: Call, job: Resource) -> Ran:
    reference = job.body["jobReference"]
    asked = job.body["configuration"]["extract"]
    uris = asked.get("destinationUris") or ([asked["destinationUri"]] if asked.get("destinationUri") else [])
    if len(uris) != 1:
        raise InvalidArgument("Extract configuration must specify one destination URI", reason="required")
    if asked.get("sourceModel"):
        count = model_files.extract(call, asked, reference["projectId"], uris[0])
        return {"extract": {"destinationUriFileCounts": [str(count)], "inputBytes": "0"}}, {}, []
    form = str(asked.get("destinationFormat") or "CSV").upper()
    if uris[0].count("*") > 1:
        raise InvalidArgument(f"Invalid destination {uris[0]}: it has more than one *", reason="invalid")
    with tempfile.TemporaryDirectory(dir=call.rooms.home / FOLDER) as folder:
        told = shapes.ask(
            call,
            "extract",
            source=_entry(asked["sourceTable"], reference["projectId"]),
            told=job.body.get(TOLD, ""),
            folder=folder,
            form=form,
            several="*" in uris[0],
            caller=job.body["user_email"],
            options={
                key: asked[key] for key in ("compression", "fieldDelimiter", "printHeader") if key in asked
            },
        )
        for number, path in enumerate(told["paths"]):
            gcs_of(call.rooms).write(uris[0].replace("*", f"{number:012d}"), Path(path))
    return {"extract": {"destinationUriFileCounts": [str(len(told["paths"]))], "inputBytes": "0"}}, {}, []


def _copy(call: Call, job: Resource) -> Ran:
    reference = job.body["jobReference"]
    asked = job.body["configuration"]["copy"]
    operation = str(asked.get("operationType") or "COPY")
    sources = asked.get("sourceTables") or [asked.get("sourceTable") or {}]
    if operation in ("SNAPSHOT", "CLONE", "RESTORE"):
        return _clone(call, job, operation, sources)
    if asked.get("destinationExpirationTime"):
        raise InvalidArgument("destinationExpirationTime is only for snapshots", reason="invalid")
    entries = [_entry(one, reference["projectId"]) for one in sources]
    destination = _entry(asked["destinationTable"], reference["projectId"])
    how = {
        "job": job.name,
        "told": job.body.get(TOLD, ""),
        "destination": destination,
        "create": settings.create(asked),
        "write": settings.write(asked),
    }
    encryption = asked.get("destinationEncryptionConfiguration")
    models = [
        one
        for one in entries
        if shapes.ask(call, "is_model", project=one["project"], dataset=one["dataset"], name=one["table"])
    ]
    if models and len(entries) > 1:
        raise InvalidArgument("A copy job copies one model at a time", reason="invalid")
    if models:
        permissions.of_model_copy(call, entries[0], destination)
        shapes.ask(call, "copy_model", source=entries[0], **how)
        return {"copy": {"copiedRows": "0"}}, {}, []
    told = shapes.ask(
        call, "copy", sources=entries, caller=job.body["user_email"], encryption=encryption, **how
    )
    return {"copy": {"copiedRows": str(told["rows"])}}, {}, []


def _clone(call: Call, job: Resource, operation: str, sources: list[dict[str, Any]]) -> Ran:
    project = job.body["jobReference"]["projectId"]
    asked = job.body["configuration"]["copy"]
    if len(sources) != 1:
        raise InvalidArgument(f"{operation} needs exactly one source table", reason="invalid")
    told = shapes.ask(
        call,
        "clone",
        job=job.name,
        source=_entry(sources[0], project),
        destination=_entry(asked["destinationTable"], project),
        operation=operation,
        write=settings.write(asked),
        expires=asked.get("destinationExpirationTime") or "",
        told=job.body.get(TOLD, ""),
        caller=job.body["user_email"],
    )
    return {"copy": {"copiedRows": str(told["rows"])}}, {}, []


_KINDS: dict[str, Callable[[Call, Resource], Ran]] = {
    "load": _load,
    "extract": _extract,
    "copy": _copy,
}
