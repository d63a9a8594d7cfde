"""BigQuery."""

from portico.services.standard.apis import Api

# Its paths begin with bigquery/v2/, so it needs no place of its own.
API = Api(
    name="bigquery",
    versions=("v2",),
    title="BigQuery (`bigquery` v2)",
    collections=(
        "datasets",
        "jobs",
        "models",
        "policies",
        "projects",
        "queries",
        "routines",
        "row_access_policies",
        "tabledata",
        "tables",
    ),
    mount="",
    errors="both",
    keep_nulls=True,
    numbers_as_texts=(
        "parameterValue.value",
        "].value",
        ".insertId",
        "labels",
    ),  # an int for a NUMERIC, as DB-API gives it
    spoken=("projection",),
)
