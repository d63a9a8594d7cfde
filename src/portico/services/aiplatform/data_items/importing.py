"""datasets.import: the items that index files name, with their annotations, become a dataset's."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, NotFound
from portico.jobs.kinds import JobKind, Wait
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.aiplatform.custom import contract
from portico.services.aiplatform.custom.acting import Acting
from portico.services.aiplatform.data_items import index_files
from portico.services.aiplatform.data_items.formats import SET, Format, format_of, kind_of
from portico.services.aiplatform.data_items.index_files import Bad, Item
from portico.services.aiplatform.data_items.kept import ANNOTATIONS, DATA_ITEMS, SAVED_QUERIES, SPECS
from portico.services.call import Call, implements
from portico.services.registry.datasets import DATASETS
from portico.services.standard import operations, sources
from portico.store import jobs, resources
from portico.store import operations as kept_operations
from portico.store.gcs import parse_uri
from portico.store.jobs import Job
from portico.store.objects import buckets
from portico.store.resources import Resource

_AT_ONCE = 500  # items a transaction
_MOST_FAILURES = 20
_LOOK = 0.5  # seconds between two looks whether it is an import's turn


@implements("aiplatform", DATASETS.method("import"))
def import_data(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        dataset = DATASETS.require(connection, call.name)
    kind = kind_of(dataset)
    if not kind:
        raise FailedPrecondition(
            f"{call.name} is a table, whose data its metadata names; items are imported into image and text datasets."
        )
    for number, config in enumerate(call.body["importConfigs"]):
        field = f"importConfigs[{number}]"
        format_of(str(config.get("importSchemaUri") or ""), kind, f"{field}.importSchemaUri")
        uris = (config.get("gcsSource") or {}).get("uris") or []
        sources.find(sources.gcs_of(call.rooms), uris, f"{field}.gcsSource.uris")
    with call.rooms.database.write() as connection:
        payload = {"configs": call.body["importConfigs"]}
        job = call.rooms.queue.add(connection, "datasets.import", call.name, payload)
        operation = operations.start(call, connection, call.name, "ImportDataOperationMetadata", job=job)
    call.rooms.queue.wake()
    return operations.render(operation)


def run(context: Context) -> dict[str, Any] | Wait:
    """Job: reads the index files and writes items and annotations; how many items the dataset has then, and what
    could not be read. Imports into one dataset run in turn: each must know the items of those before it."""
    with context.database.read() as connection:
        dataset = DATASETS.require(connection, context.job.resource)
        if _is_behind(connection, context.job):
            return Wait(context.clock.now() + _LOOK, why="waits for another import into the dataset")
    into = _Into(context, dataset)
    for config in context.job.payload["configs"]:
        into.read(config)
    if into.failures and not into.taken:
        raise InvalidArgument(f"No item could be imported: {into.failures[0]}.", field="importConfigs")
    return {"items": len(into.items), "failures": into.failures, "bucket": into.bucket}


def _is_behind(connection: Connection, job: Job) -> bool:
    """Whether an import into the same dataset was asked for before, and has not ended."""
    return any(
        one.kind == job.kind
        and one.state in jobs.ACTIVE
        and (one.create_time, one.id) < (job.create_time, job.id)
        for one in jobs.of_resource(connection, job.resource)
    )


class _Into:
    """A dataset that takes items. An item is known by its gs:// name, a text by what it says."""

    def __init__(self, context: Context, dataset: Resource) -> None:
        self.context, self.dataset, self.kind = context, dataset, kind_of(dataset)
        self.failures: list[str] = []
        self.taken = 0
        self.bucket = str(dataset.body["metadata"].get("gcsBucket") or "")
        self._gcs = sources.gcs_of(context)
        self._acting = Acting(context, contract.account_of({}, dataset.name), dataset.name)
        with context.database.read() as connection:
            self.items = {
                one.body["payload"]["gcsUri"]: one
                for one in resources.listed(connection, DATA_ITEMS.kind, dataset.name)
            }
            self._specs = {
                one.body["displayName"]: one.name.rpartition("/")[2]
                for one in resources.listed(connection, SPECS.kind, dataset.name)
            }
            self._sets = {
                one.body["problemType"]: one.name.rpartition("/")[2]
                for one in resources.listed(connection, SAVED_QUERIES.kind, dataset.name)
            }

    def read(self, config: dict[str, Any]) -> None:
        """Takes what one ImportDataConfig names."""
        format = format_of(config["importSchemaUri"], self.kind, "importSchemaUri")
        holder = f"job:{self.context.job.id}"
        pinned = sources.pin(self._gcs, config["gcsSource"]["uris"], holder, "importConfigs.gcsSource.uris")
        try:
            for source in pinned:
                waiting: list[Item] = []
                for number, found in index_files.read(source.path(self.context.home), source.uri, format):
                    told = found if isinstance(found, Bad) else self._missing(found)
                    if told is not None:
                        self._fail(f"{source.uri}, line {number}: {told}")
                    elif isinstance(found, Item):
                        waiting.append(found)
                    if len(waiting) == _AT_ONCE:
                        self._write(waiting, format, config)
                        waiting = []
                self._write(waiting, format, config)
        finally:
            self._gcs.unpin(holder)

    def _fail(self, told: str) -> None:
        self.context.say(told)
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(told)

    def _missing(self, item: Item) -> Bad | None:
        """Why an item's object can't be read by who reads for the dataset."""
        if item.inline:
            return None
        try:
            if self._acting.may("get", parse_uri(item.content)[0]):
                self._gcs.find(item.content)
                return None
        except (NotFound, InvalidArgument):
            pass
        return Bad(f"{item.content} can't be read by {self._acting.account}, or is not there")

    def _write(self, waiting: list[Item], format: Format, config: dict[str, Any]) -> None:
        self.context.check()
        uris = [self._kept(item) if item.inline else item.content for item in waiting]
        with self.context.database.write() as connection:
            for uri, item in zip(uris, waiting, strict=True):
                labels = {**(config.get("dataItemLabels") or {}), **item.labels}
                self._add(connection, uri, item, labels, format, config.get("annotationLabels") or {})
        self.taken += len(waiting)

    def _kept(self, item: Item) -> str:
        """A text as an object, as Vertex AI keeps it: in a bucket of the dataset's."""
        if not self.bucket:
            project, number = self.dataset.name.split("/")[1], self.dataset.name.rpartition("/")[2]
            self.bucket = f"cloud-ai-platform-{number}"
            with self.context.database.write() as connection:
                buckets.ensure(connection, self.bucket, project, {}, self.context.clock.now())
        data = item.content.encode()
        uri = f"gs://{self.bucket}/text/{hashlib.sha256(data).hexdigest()}.txt"
        if uri not in self.items:
            self._gcs.write(uri, data, "text/plain")
        return uri

    def _add(
        self, connection: Connection, uri: str, item: Item, labels: dict[str, str], format: Format,
        annotation_labels: dict[str, str],
    ) -> None:  # fmt: skip
        known = self.items.get(uri)
        if known is not None:
            known.body["labels"] = {**(known.body.get("labels") or {}), **labels}
            resources.update(connection, known, self.context.clock.now())
        else:
            payload = {"gcsUri": uri, **({"mimeType": "text/plain"} if format.kind == "text" else {})}
            body: dict[str, Any] = {"payload": payload, **({"labels": labels} if labels else {})}
            self.items[uri] = self._insert(connection, DATA_ITEMS.kind, "dataItems", self.dataset.name, body)
        here = self.items[uri].name
        before = list(resources.listed(connection, ANNOTATIONS.kind, here)) if known is not None else []
        for payload, own in item.annotations:
            body = {
                "payload": self._payload(connection, payload),
                "payloadSchemaUri": format.schema,
                "labels": {SET: self._set(connection, format), **annotation_labels, **own},
            }
            if body in [one.body for one in before]:
                continue
            for one in before if format.single else ():
                if one.body["payloadSchemaUri"] == format.schema:
                    resources.delete(connection, one.name)
            self._insert(connection, ANNOTATIONS.kind, "annotations", here, body)

    def _payload(self, connection: Connection, payload: dict[str, Any]) -> dict[str, Any]:
        name = payload.get("displayName")
        if not name:
            return payload
        if name not in self._specs:
            made = self._insert(
                connection, SPECS.kind, "annotationSpecs", self.dataset.name, {"displayName": name}
            )
            self._specs[name] = made.name.rpartition("/")[2]
        return {**payload, "annotationSpecId": self._specs[name]}

    def _set(self, connection: Connection, format: Format) -> str:
        if format.problem not in self._sets:
            shown = f"{self.dataset.body['displayName']}_{format.problem.lower()}"[:128]
            body = {"displayName": shown, "problemType": format.problem}
            made = self._insert(connection, SAVED_QUERIES.kind, "savedQueries", self.dataset.name, body)
            self._sets[format.problem] = made.name.rpartition("/")[2]
        return self._sets[format.problem]

    def _insert(
        self, connection: Connection, kind: str, place: str, parent: str, body: dict[str, Any]
    ) -> Resource:
        made = resources.insert(
            connection, name=f"{parent}/{place}/{self.context.ids.number()}", kind=kind, parent=parent, body=body,
            now=self.context.clock.now(),
        )  # fmt: skip
        assert made is not None  # its id is new
        return made


def _follow(connection: Connection, job: Job, now: float) -> None:
    if job.state == "SUCCEEDED":
        dataset = DATASETS.require(connection, job.resource)
        dataset.body["dataItemCount"] = str(job.result["items"])
        if job.result["bucket"]:
            dataset.body["metadata"] = {**dataset.body["metadata"], "gcsBucket": job.result["bucket"]}
        resources.update(connection, dataset, now)
    operation = operations.follow(connection, job, now, "ImportDataResponse", {})
    if operation is not None and job.state == "SUCCEEDED" and job.result["failures"]:
        told = [{"code": 3, "message": message} for message in job.result["failures"]]
        operation.metadata["genericMetadata"]["partialFailures"] = told
        kept_operations.update(connection, operation)


register_kind(JobKind("datasets.import", f"{__name__}:run", _follow))
