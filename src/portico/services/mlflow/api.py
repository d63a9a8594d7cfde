"""MLflow's tracking server. It is no API of Google's: `make_document` reads its wire from MLflow's own messages."""

from pathlib import Path

from portico.services.standard.apis import Api

API = Api(
    name="mlflow",
    versions=("v2",),
    title="MLflow's (`/apis/mlflow`)",
    note=(
        "What an unmodified MLflow client speaks to its tracking URI, `/apis/mlflow` or, for another project and "
        "location, `/apis/mlflow/projects/PROJECT/locations/LOCATION`. Made from the messages of MLflow 3.17."
    ),
    collections=(
        "artifacts",
        "experiments",
        "inputs",
        "logged_models",
        "metrics",
        "model_versions",
        "registered_models",
        "run_search",
        "runs",
        "server",
    ),
    document=Path(__file__).with_name("mlflow.json"),
    errors="flat",
    error_codes={
        "INVALID_ARGUMENT": ("INVALID_PARAMETER_VALUE", 400),
        "FAILED_PRECONDITION": ("INVALID_PARAMETER_VALUE", 400),
        "OUT_OF_RANGE": ("INVALID_PARAMETER_VALUE", 400),
        "NOT_FOUND": ("RESOURCE_DOES_NOT_EXIST", 404),
        "ALREADY_EXISTS": ("RESOURCE_ALREADY_EXISTS", 400),
        "ABORTED": ("RESOURCE_CONFLICT", 409),
        "RESOURCE_EXHAUSTED": ("RESOURCE_EXHAUSTED", 429),
        "UNIMPLEMENTED": ("NOT_IMPLEMENTED", 501),
        "UNAVAILABLE": ("TEMPORARILY_UNAVAILABLE", 503),
        "INTERNAL": ("INTERNAL_ERROR", 500),
    },
    lenient=True,
    place="projects/portico/locations/us-central1",
    placeless=("api", "health", "version"),
)
