"""What the warehouse's process is asked: each request is a method's name and its arguments, and answered by JSON."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import orjson
from sqlglot import exp

from portico.errors import Cancelled, InvalidArgument, NotFound, PorticoError
from portico.warehouse import (
    arrow,
    block_reader,
    blocks,
    catalog,
    decorators,
    external,
    guard,
    insertions,
    intervals,
    job_locations,
    locations,
    partitions,
    prediction_logs,
    rows,
    scans,
    scripts,
    sessions,
    storage,
    table_jobs,
    wire,
    write_streams,
)
from portico.warehouse.asked import Asked, Done
from portico.warehouse.cached_results import CachedResults
from portico.warehouse.catalog import Entry
from portico.warehouse.client import child_name, result_file
from portico.warehouse.dispositions import store
from portico.warehouse.engine import Warehouse
from portico.warehouse.models import exports as model_exports
from portico.warehouse.models import shown
from portico.warehouse.public.making import PublicTables
from portico.warehouse.resource_requests import OF_RESOURCES
from portico.warehouse.rows import page
from portico.warehouse.types import Field


class Requests:
    """Answers for one warehouse; from several threads."""

    def __init__(self, folder: Path, memory: str = "") -> None:
        self._folder = folder
        (folder / "results").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._warehouse = Warehouse(folder, memory)
        self.public = PublicTables(self._warehouse)
        self._cached = CachedResults(folder / "results" / "cached")

    def answer(
        self, method: str, arguments: dict[str, Any], outside: Callable[..., Any] | None = None
    ) -> Any:
        """`outside` asks who asked for what is not in the warehouse; with `told` among the arguments data sets have to
        be in that location.

        Raises:
            PorticoError: what is asked is refused.
        """
        if method in _REACHING:
            arguments["outside"] = outside
        with locations.within(arguments.pop("told", "")):
            if own := METHODS.get(method):
                return own(self, **arguments)
            return (OF_RESOURCES.get(method) or OF_TABLES[method])(self._warehouse, **arguments)

    # --- queries ---

    def query(
        self,
        job: str,
        project: str,
        text: str,
        dataset: str = "",
        parameters: list[dict[str, Any]] | None = None,
        dry: bool = False,
        destination: dict[str, str] | None = None,
        create: str = "CREATE_IF_NEEDED",
        write: str = "WRITE_EMPTY",
        settings: dict[str, Any] | None = None,
        files: dict[str, str] | None = None,
        exports: str = "",
        caller: str = "",
        tables: dict[str, dict[str, Any]] | None = None,
        first: dict[str, Any] | None = None,
        outside: Callable[..., Any] | None = None,
        most_billed: int | None = None,
        session: str = "",
        begins: bool = False,
        cached: bool = True,
        guarded: bool = False,
        location: str = "US",
        dataset_project: str = "",
    ) -> dict[str, Any]:
        """Runs a text; its result is that of the last query in it, and kept as a file until the job is deleted.
        `first`: `most` rows of it come along, timestamps as `times` says; `begins`: the session is made first;
        `cached`: the result may be one that was given before; `guarded`: `outside` says which names it may touch."""
        key = ""
        if not (guarded or dry or destination or session or tables):
            asks = [project, text, dataset, dataset_project, parameters, caller, location, locations.told()]
            key = hashlib.sha256(orjson.dumps(asks, option=orjson.OPT_SORT_KEYS)).hexdigest()
        if key and cached and (found := self._given(key, job)) is not None:
            return found | self.result(job, found["fields"], 0, **first) if first else found
        if key and create == "CREATE_NEVER" and _is_query(text):
            raise NotFound("Not found: the query has no cached result", reason="notFound")
        named, positional = {}, []
        for one in parameters or ():
            value = wire.parameter(one.get("parameterType") or {}, one.get("parameterValue"))
            if one.get("name"):
                named[one["name"]] = value
            else:
                positional.append(value)
        asked = Asked(
            project,
            dataset,
            named,
            positional,
            dry,
            kept=bool(destination),
            files=files or {},
            exports=exports,
            caller=caller,
            outside=outside,
            folder=str(self._folder),
            measured=True,
            most_billed=most_billed,
            location=location,
            dataset_project=dataset_project,
        )
        for name, told in (tables or {}).items():
            body = {"type": "EXTERNAL", "externalDataConfiguration": told}
            asked.tables[name.lower()] = {**body, "schema": {"fields": external.schema(told, outside)}}
        if begins:
            self._warehouse.sessions.begin(session, asked)
        spent = time.thread_time()
        try:
            with guard.guarded(outside if guarded else None, guarded and _is_query(text)):
                done = self._warehouse.run(text, asked, job, session)
        except duckdb.InterruptException:
            raise Cancelled("The query was cancelled.", reason="stopped") from None
        except PorticoError as error:
            if not asked.children or not scripts.is_script(block_reader.read(text)):
                raise
            return self._failed(job, asked.children, error)
        if not done:
            raise InvalidArgument("Syntax error: Unexpected end of script", reason="invalidQuery")
        last = done[-1]
        scanned = last.scanned if len(done) == 1 else [size for one in done[:-1] for size in one.scanned]
        answer = {
            **_told(last),
            "statements": 1,
            "read": _referenced(done),
            "cached": False,
            "appended": False,
        }
        answer |= {"bytes": sum(scanned), "billed": 0 if dry else scans.billed(scanned), "plan": last.plan}
        # Where DuckDB's profile does not say what a statement took, its thread does, for the least.
        answer["slot_ms"] = last.plan.get("totalSlotMs") or str(
            math.ceil((time.thread_time() - spent) * 1000)
        )
        children = done[:-1] if last.kind == "SCRIPT" and not dry else []
        answer |= {"children": [self._child(job, number, one) for number, one in enumerate(children)]}
        answer["registers"] = [one.registers for one in done if one.registers and not dry]
        if last.kind == "SCRIPT":
            answer["statements"] = last.children + 1
            answer["kind"] = "SELECT" if last.rows is not None else "SCRIPT"
        if last.rows is not None and not dry:
            if destination:
                place = decorators.entry_of(destination)
                self._keep(job, place, last, create, write, settings or {}, caller)
                if write == "WRITE_APPEND":
                    return answer | {"fields": self._columns(place), "appended": True}
            arrow.write(self._file(job), last.rows, last.fields)
            if key and last.steady and last.kind == "SELECT":
                self._cached.keep(key, self._file(job), last.read, answer)
            if first:
                return answer | page(last.rows, last.fields, 0, **first)
        return answer

    def _failed(self, job: str, children: list[Done], error: PorticoError) -> dict[str, Any]:
        """What a script is answered that failed after it had begun."""
        return {
            "error": _error(error),
            "children": [self._child(job, number, one) for number, one in enumerate(children)],
            "registers": [one.registers for one in children if one.registers],
        }

    def _child(self, job: str, number: int, done: Done) -> dict[str, Any]:
        """What a statement of a script did, as a job of its own; rows of a query are kept as that job's."""
        if done.rows is not None:
            arrow.write(self._file(child_name(job, number)), done.rows, done.fields)
        counted = {"bytes": sum(done.scanned), "billed": scans.billed(done.scanned), "plan": done.plan}
        told = {"statements": 1, "read": _referenced([done]), "cached": False, "text": done.text}
        failed = {"error": _error(done.error)} if done.error else {}
        return {**_told(done), **counted, **told, **failed}

    def _given(self, key: str, job: str) -> dict[str, Any] | None:
        """What a query was answered before, where nothing has changed since; its rows are the job's too."""
        with self._warehouse.reading() as cursor:
            found = self._cached.find(cursor, key, self._file(job))
        return (
            None
            if found is None
            else {**found, "cached": True, "bytes": 0, "billed": 0, "plan": {}, "slot_ms": "0"}
        )

    def _keep(
        self,
        job: str,
        entry: Entry,
        done: Done,
        create: str,
        write: str,
        settings: dict[str, Any],
        caller: str,
    ) -> None:
        """Writes a query's result to its destination table."""
        with self._warehouse.transaction(job) as cursor:
            cursor.register("_result", done.rows)
            storage.written_by(cursor, caller)
            store(cursor, entry, done.fields, "SELECT * FROM _result", create, write, settings)

    def _columns(self, place: Entry) -> list[Field]:
        with self._warehouse.reading() as cursor:
            return catalog.require(cursor, place.project, place.dataset, place.table).fields

    def _file(self, job: str) -> Path:
        return result_file(self._folder, job)

    def result(
        self,
        job: str,
        fields: list[Field],
        start: int,
        most: int,
        times: str,
        whole: bool = False,
        appended: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Rows of a query's result, from `start`; `most` at most and no more than fit into an answer. With `whole` all
        that are left, or none. What was `appended` to a table has that table, as it is at the first look, as result."""
        if appended and not self._file(job).exists():
            self._write_table(job, decorators.entry_of(appended))
        try:
            table, _ = arrow.read(self._file(job))
        except FileNotFoundError:
            raise NotFound(
                f"Not found: the result of job {job} is not kept any more; run it again", reason="notFound"
            ) from None
        if whole and table.num_rows - start > most:
            most = 0
        return page(table, fields, start, most, times)

    def _write_table(self, job: str, place: Entry) -> None:
        with self._warehouse.reading() as cursor:
            found = catalog.require(cursor, place.project, place.dataset, place.table)
            where = f" WHERE {partitions.chosen(found, place.partition)}" if place.partition else ""
            names = storage.names(found.fields)
            wished = intervals.told(f"SELECT {names} FROM {found.place}{where}", found.fields)
            table = cursor.sql(wished).to_arrow_table()
            arrow.write(self._file(job), table, found.fields)

    def forget(self, job: str) -> None:
        self._file(job).unlink(missing_ok=True)

    def cancel(self, job: str) -> bool:
        return self._warehouse.cancel(job)

    def finished(self, job: str) -> bool:
        """Whether what `job` changed was committed."""
        with self._warehouse.reading() as cursor:
            return (
                catalog.first(cursor, f"SELECT 1 FROM {catalog.FILE}.portico.finished WHERE job = ?", [job])
                is not None
            )

    def make_public_table(self, name: str) -> int:
        return self.public.make(name)

    @property
    def warehouse(self) -> Warehouse:
        return self._warehouse

    def snapshot(self, target: str) -> None:
        self._warehouse.snapshot(target)


def _told(done: Done) -> dict[str, Any]:
    target, routine = done.target, done.routine
    place = ("projectId", "datasetId", "routineId")
    return {
        "kind": done.kind,
        "fields": done.fields,
        "affected": done.affected,
        "warnings": done.warnings,
        "counts": done.counts,
        "target": [target.project, target.dataset, target.table] if target else None,
        "operation": done.operation if target or routine else "",
        "transaction": done.transaction,
        "routine": dict(zip(place, (routine.project, routine.dataset, routine.name), strict=True))
        if routine
        else None,
    }


def _error(error: PorticoError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "reason": error.reason}


def _is_query(text: str) -> bool:
    block = block_reader.read(text)
    return len(block) == 1 and isinstance(block[0], blocks.Run) and isinstance(block[0].tree, exp.Query)


def _referenced(done: list[Done]) -> list[list[str]]:
    found = {(one.project, one.dataset, one.table) for each in done for one in each.read}
    return [list(one) for one in sorted(found)]


METHODS: dict[str, Callable[..., Any]] = {
    "query": Requests.query, "result": Requests.result, "forget": Requests.forget, "cancel": Requests.cancel,
    "finished": Requests.finished, "snapshot": Requests.snapshot, "make_public_table": Requests.make_public_table,
}  # fmt: skip
OF_TABLES: dict[str, Callable[..., Any]] = {
    "rows": rows.rows, "insert_all": insertions.insert_all, "load": table_jobs.load, "extract": table_jobs.extract,
    "export": table_jobs.export,
    "copy": table_jobs.copy, "clone": table_jobs.clone,
    "model": shown.model, "models": shown.models, "update_model": shown.update_model,
    "export_model": model_exports.export,
    "is_model": shown.is_model, "copy_model": shown.copy_model, "drop_model": shown.drop_model,
    "read_session": sessions.make, "job_location": job_locations.of_job,
    "create_stream": write_streams.create, "get_stream": write_streams.get, "append": write_streams.append,
    "finalize_stream": write_streams.finalize, "flush_stream": write_streams.flush,
    "commit_streams": write_streams.commit, "create_log": prediction_logs.create,
    "make_logs": prediction_logs.make_wanted,
}  # fmt: skip
_REACHING = frozenset(["query", "create_table", "update"])  # methods that may need what is outside
