"""Portico's own API: what Google has none for."""

from pathlib import Path

from portico.services.standard.apis import Api

API = Api(
    name="portico",
    versions=("v1",),
    title="Portico's own (`/apis/portico/v1`)",
    note="What Google has no API for. Its discovery document is `src/portico/services/portico/portico.v1.json`.",
    collections=(
        "alerts",
        "audit",
        "clock",
        "groups",
        "home",
        "jobs",
        "label_import",
        "oidc",
        "labels",
        "prediction_search",
        "service",
        "stewards",
        "steward.train",
        "steward.pipeline_training",
        "triggers",
        "users",
        "usage",
    ),
    document=Path(__file__).with_name("portico.v1.json"),
    package="type.googleapis.com/portico.",
)
