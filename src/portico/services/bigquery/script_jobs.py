"""The jobs of a script's statements, which it is the parent of, and what a job of a query says that it did.

https://cloud.google.com/bigquery/docs/multi-statement-queries#child_jobs
"""

from __future__ import annotations

from typing import Any

from portico.services.bigquery import shapes
from portico.services.bigquery.outside import JOBS
from portico.services.call import Call
from portico.store import resources
from portico.store.resources import Resource
from portico.warehouse.client import ANONYMOUS, child_name


def write(call: Call, script: Resource, told: list[dict[str, Any]]) -> None:
    """Writes down, as jobs that are done, what the statements of a script did, and how many it has with the script."""
    if not told:
        return
    parent = script.body["jobReference"]
    now = call.rooms.clock.now()
    at = str(int(now * 1000))
    with call.rooms.database.write() as connection:
        for number, one in enumerate(told):
            name = child_name(script.name, number)
            reference = {**parent, "jobId": name.rpartition("/")[2]}
            query = {"query": one["text"], "useLegacySql": False, "priority": "INTERACTIVE"}
            target = one["target"]
            status: dict[str, Any] = {"state": "DONE"}
            if error := one.get("error"):
                shown = shapes.error_result(**error, query=True)
                status |= {"errorResult": shown, "errors": [shown]}
            elif one["kind"] == "SELECT":
                query["destinationTable"] = shapes.table_reference(
                    parent["projectId"], ANONYMOUS, reference["jobId"]
                )
            elif target and target[2] and one["operation"] != "DROP":
                query["destinationTable"] = shapes.table_reference(*target)
            counted: dict[str, Any] = {
                "creationTime": at, "startTime": at, "endTime": at, "parentJobId": parent["jobId"],
                "scriptStatistics": {"evaluationKind": "STATEMENT"},
                "totalBytesProcessed": str(one["bytes"]), "query": statistics(one, dry=False),
            }  # fmt: skip
            if one["transaction"]:
                counted["transactionInfo"] = {"transactionId": one["transaction"]}
            body = {
                "jobReference": reference, "configuration": {"jobType": "QUERY", "query": query},
                "status": status, "statistics": counted, "user_email": script.body["user_email"],
            }  # fmt: skip
            private = {
                "fields": one["fields"] if one["kind"] == "SELECT" else [],
                "kind": one["kind"],
                "affected": one["affected"],
                "appended": None,
            }
            resources.insert(
                connection, name=name, kind=JOBS, parent=script.parent, body=body, now=now, private=private
            )
        current = resources.get(connection, script.name)
        if current is not None:
            current.body["statistics"]["numChildJobs"] = str(len(told))
            resources.update(connection, current, now)


def statistics(told: dict[str, Any], dry: bool) -> dict[str, Any]:
    """The `query` of a job's statistics."""
    shown: dict[str, Any] = {
        "totalBytesProcessed": str(told["bytes"]),
        "totalBytesBilled": str(told["billed"]),
        "cacheHit": told["cached"],
        **told["plan"],
    }
    if kind := told["kind"] if told["statements"] == 1 else "SCRIPT":
        shown["statementType"] = kind
    if dry:
        shown["schema"] = {"fields": [shapes.plain(one) for one in told["fields"]]}
        shown["totalBytesProcessedAccuracy"] = "UPPER_BOUND"
    if told["read"]:
        shown["referencedTables"] = [shapes.table_reference(*one) for one in told["read"]]
    if told["affected"] is not None:
        shown["numDmlAffectedRows"] = str(told["affected"])
        shown["dmlStats"] = {key: str(value) for key, value in told["counts"].items()}
    if told["routine"]:
        shown["ddlOperationPerformed"] = told["operation"]
        shown["ddlTargetRoutine"] = told["routine"]
    elif told["operation"]:
        shown["ddlOperationPerformed"] = told["operation"]
        project, dataset, table = told["target"]
        if table:
            shown["ddlTargetTable"] = shapes.table_reference(project, dataset, table)  # a model's too
        else:
            shown["ddlTargetDataset"] = shapes.dataset_reference(project, dataset)
    return shown
