"""BigQuery's connections to other databases."""

from portico.services.standard.apis import Api

API = Api(
    name="bigqueryconnection",
    versions=("v1",),
    title="BigQuery Connection (`bigqueryconnection` v1)",
    note=(
        "Connections to PostgreSQL (`cloudSql`), for EXTERNAL_QUERY. Where an instance is, "
        "`PORTICO_CLOUD_SQL=PROJECT:REGION:INSTANCE=HOST:PORT` says to the server; several with commas between."
    ),
    collections=("connections",),
)
