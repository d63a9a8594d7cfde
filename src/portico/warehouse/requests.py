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

from portico.errors import Cancelled, InvalidArgument, NotFound, Unimplemented
from portico.warehouse import (
    access,
    arrow,
    block_reader,
    blocks,
    catalog,
    decorators,
    external,
    guard,
    iam_policies,
    insertions,
    partitions,
    prediction_logs,
    routines,
    rows,
    scans,
    sessions,
    sizes,
    storage,
    table_jobs,
    wire,
    write_streams,
)
from portico.warehouse.asked import Asked, Done
from portico.warehouse.cached_results import CachedResults
from portico.warehouse.catalog import Entry
from portico.warehouse.client import result_file
from portico.warehouse.defaults import Defaults
from portico.warehouse.dispositions import store
from portico.warehouse.engine import Warehouse
from portico.warehouse.models import exports as model_exports
from portico.warehouse.models import shown
from portico.warehouse.public.making import PublicTables
from portico.warehouse.queries import Query
from portico.warehouse.routines import Routine
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
        """`outside` asks who asked for what is not in the warehouse.

        Raises:
            PorticoError: what is asked is refused.
        """
        if method in _REACHING:
            arguments["outside"] = outside
        if method in OF_TABLES:
            return OF_TABLES[method](self._warehouse, **arguments)
        return METHODS[method](self, **arguments)

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
    ) -> dict[str, Any]:
        """Runs a text; its result is that of the last query in it, and kept as a file until the job is deleted.
        `first`: `most` rows of it come along, with `micros` or without; `begins`: the session is made first; `cached`:
        the result may be one that was given before; `guarded`: `outside` says which names it may touch."""
        key = ""
        if not (guarded or dry or destination or session or tables):
            asks = [project, text, dataset, parameters, caller, location]
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
        micros: bool,
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
        return page(table, fields, start, most, micros)

    def _write_table(self, job: str, place: Entry) -> None:
        with self._warehouse.reading() as cursor:
            found = catalog.require(cursor, place.project, place.dataset, place.table)
            where = f" WHERE {partitions.chosen(found, place.partition)}" if place.partition else ""
            names = storage.names(found.fields)
            table = cursor.sql(f"SELECT {names} FROM {found.place}{where}").to_arrow_table()
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

    # --- resources ---

    def get(self, project: str, dataset: str, table: str = "") -> dict[str, Any]:
        with self._warehouse.reading() as cursor:
            asked = decorators.entry_of({"project": project, "dataset": dataset, "table": table})
            found = decorators.newest(cursor, asked) or catalog.require(cursor, project, dataset, asked.table)
            body = _public(found.body)
            if table:
                body["location"] = catalog.require(cursor, project, dataset).body.get("location", "US")
            if found.storage:
                where = f" WHERE {partitions.chosen(found, asked.partition)}" if asked.partition else ""
                [(rows, size)] = catalog.do(
                    cursor, f"SELECT count(*), {sizes.total(found.fields)} FROM {found.place}{where}"
                )
                body |= {"numRows": str(rows), "numBytes": str(size)}
            elif prediction_logs.STREAMS in found.body:
                body["numRows"] = str(prediction_logs.count(found, self._warehouse.folder.parent))
        return body

    def listed(self, project: str, dataset: str | None = None) -> list[dict[str, Any]]:
        with self._warehouse.reading() as cursor:
            if dataset is not None:
                catalog.require(cursor, project, dataset)
            return [
                {"dataset": one.dataset, "table": one.table, **_public(one.body)}
                for one in catalog.listed(cursor, project, dataset)
            ]

    def create_dataset(self, project: str, dataset: str, body: dict[str, Any]) -> dict[str, Any]:
        entry = Entry(project, dataset, "", body)
        with self._warehouse.transaction() as cursor:
            catalog.create_dataset(cursor, entry)
        return _public(entry.body)

    def create_table(
        self,
        project: str,
        dataset: str,
        table: str,
        body: dict[str, Any],
        outside: Callable[..., Any] | None = None,
    ) -> dict[str, Any]:
        entry = Entry(project, dataset, table, body)
        if any(one.get("generatedColumn") for one in (body.get("schema") or {}).get("fields") or ()):
            raise Unimplemented(
                "Generated columns are declared by CREATE TABLE in Portico, not by tables.insert."
            )
        if told := body.get("externalDataConfiguration"):
            if fields := (body.get("schema") or {}).get("fields"):
                told = {**told, "schema": {"fields": fields}}
            entry.body |= {"type": "EXTERNAL", "schema": {"fields": external.schema(told, outside)}}
        if view := body.get("view"):
            if view.get("useLegacySql"):
                raise InvalidArgument(
                    "Views of legacy SQL are not built in Portico; set useLegacySql to false",
                    reason="invalid",
                )
            made = self._warehouse.run(view["query"], Asked(project, f"{project}.{dataset}", dry=True))
            entry.body |= {"type": "VIEW", "schema": {"fields": made[-1].fields}}
        partitions.check(entry)
        with self._warehouse.transaction() as cursor:
            Defaults(cursor, Asked(project, f"{project}.{dataset}"), exp.Null()).settle_defaults(entry.fields)
            catalog.create_table(cursor, entry)
        return _public(entry.body)

    def update(self, project: str, dataset: str, table: str, body: dict[str, Any]) -> dict[str, Any]:
        """Writes a resource's settings; a table's schema may grow."""
        with self._warehouse.transaction() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            schema = (body.get("schema") or {}).get("fields")
            if schema is not None and not found.is_view:
                Defaults(cursor, Asked(project, f"{project}.{dataset}"), exp.Null()).settle_defaults(schema)
                catalog.add_fields(cursor, found, schema)
            if body.get("view") and found.body.get("type") == "VIEW":
                made = self._warehouse.run(
                    body["view"]["query"], Asked(project, f"{project}.{dataset}", dry=True)
                )
                body["schema"] = {"fields": made[-1].fields}
            kept = {key: value for key, value in found.body.items() if key.startswith("_")}
            found.body = {
                **kept,
                **body,
                "type": found.body.get("type"),
                "creationTime": found.body["creationTime"],
            }
            if found.body["type"] is None:
                del found.body["type"]
            catalog.write(cursor, found)
            return _public(found.body)

    def delete(self, project: str, dataset: str, table: str = "", contents: bool = False) -> None:
        with self._warehouse.transaction() as cursor:
            asked = decorators.entry_of({"project": project, "dataset": dataset, "table": table})
            found = catalog.require(cursor, project, dataset, asked.table)
            if asked.partition:
                storage.delete(cursor, found, partitions.chosen(found, asked.partition))
                catalog.write(cursor, found)
            elif table:
                catalog.drop_table(cursor, found)
            else:
                catalog.drop_dataset(cursor, found, contents=contents)

    def policies(self, project: str, dataset: str, table: str) -> list[dict[str, Any]]:
        with self._warehouse.reading() as cursor:
            return access.policies(catalog.require(cursor, project, dataset, table))

    def write_policy(
        self, project: str, dataset: str, table: str, policy: dict[str, Any], replace: bool
    ) -> dict[str, Any]:
        with self._warehouse.transaction() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            if found.storage:
                asked = Asked(project, f"{project}.{dataset}", warehouse=self._warehouse)
                Query(cursor, asked, exp.Null()).check_policy(found, policy["filterPredicate"])
            return access.write(cursor, found, policy, replace=replace)

    def drop_policies(self, project: str, dataset: str, table: str, names: list[str]) -> None:
        with self._warehouse.transaction() as cursor:
            found = catalog.require(cursor, project, dataset, table)
            for name in names:
                access.drop(cursor, found, name)

    # --- routines ---

    def routine(self, project: str, dataset: str, name: str) -> dict[str, Any]:
        with self._warehouse.reading() as cursor:
            return _public(routines.require(cursor, project, dataset, name).body)

    def routines(self, project: str, dataset: str) -> list[dict[str, Any]]:
        with self._warehouse.reading() as cursor:
            catalog.require(cursor, project, dataset)
            return [
                {"name": one.name, **_public(one.body)} for one in routines.listed(cursor, project, dataset)
            ]

    def write_routine(
        self, project: str, dataset: str, name: str, body: dict[str, Any], replace: bool
    ) -> dict[str, Any]:
        routine = Routine(project, dataset, name, body)
        with self._warehouse.transaction() as cursor:
            routines.write(cursor, routine, replace=replace)
        return _public(routine.body)

    def drop_routine(self, project: str, dataset: str, name: str) -> None:
        with self._warehouse.transaction() as cursor:
            routines.drop(cursor, routines.require(cursor, project, dataset, name))

    # --- IAM policies ---

    def iam_policy(self, project: str, dataset: str, table: str, routine: str) -> dict[str, Any]:
        with self._warehouse.reading() as cursor:
            if routine:
                return iam_policies.get(routines.require(cursor, project, dataset, routine).body)
            return iam_policies.get(catalog.require(cursor, project, dataset, table).body)

    def set_iam_policy(
        self, project: str, dataset: str, table: str, routine: str, policy: dict[str, Any], etag: str
    ) -> dict[str, Any]:
        with self._warehouse.transaction() as cursor:
            if routine:
                found = routines.require(cursor, project, dataset, routine)
                made = iam_policies.put(found.body, policy, etag)
                routines.write(cursor, found)
                return made
            entry = catalog.require(cursor, project, dataset, table)
            made = iam_policies.put(entry.body, policy, etag)
            catalog.write(cursor, entry)
            return made


def _public(body: dict[str, Any]) -> dict[str, Any]:
    """A resource without what only the warehouse knows of it."""
    return {key: value for key, value in body.items() if not key.startswith("_")}


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
        "routine": dict(zip(place, (routine.project, routine.dataset, routine.name), strict=True))
        if routine
        else None,
    }


def _is_query(text: str) -> bool:
    block = block_reader.read(text)
    return len(block) == 1 and isinstance(block[0], blocks.Run) and isinstance(block[0].tree, exp.Query)


def _referenced(done: list[Done]) -> list[list[str]]:
    found = {(one.project, one.dataset, one.table) for each in done for one in each.read}
    return [list(one) for one in sorted(found)]


METHODS: dict[str, Callable[..., Any]] = {
    "policies": Requests.policies, "write_policy": Requests.write_policy, "drop_policies": Requests.drop_policies,
    "query": Requests.query, "result": Requests.result, "forget": Requests.forget, "cancel": Requests.cancel,
    "finished": Requests.finished, "get": Requests.get, "listed": Requests.listed,
    "create_dataset": Requests.create_dataset, "create_table": Requests.create_table, "update": Requests.update,
    "delete": Requests.delete,
    "routine": Requests.routine, "routines": Requests.routines, "write_routine": Requests.write_routine,
    "drop_routine": Requests.drop_routine, "iam_policy": Requests.iam_policy, "set_iam_policy": Requests.set_iam_policy,
    "snapshot": Requests.snapshot, "make_public_table": Requests.make_public_table,
}  # fmt: skip
OF_TABLES: dict[str, Callable[..., Any]] = {
    "rows": rows.rows, "insert_all": insertions.insert_all, "load": table_jobs.load, "extract": table_jobs.extract,
    "export": table_jobs.export,
    "copy": table_jobs.copy, "clone": table_jobs.clone,
    "model": shown.model, "models": shown.models, "update_model": shown.update_model,
    "export_model": model_exports.export,
    "is_model": shown.is_model, "copy_model": shown.copy_model, "drop_model": shown.drop_model,
    "read_session": sessions.make,
    "create_stream": write_streams.create, "get_stream": write_streams.get, "append": write_streams.append,
    "finalize_stream": write_streams.finalize, "flush_stream": write_streams.flush,
    "commit_streams": write_streams.commit, "create_log": prediction_logs.create,
    "make_logs": prediction_logs.make_wanted,
}  # fmt: skip
_REACHING = frozenset(["query", "create_table"])  # methods that may need what is outside
