"""What a client asks of the server itself."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import orjson

from portico.services.call import Call, implements


@functools.cache
def _version() -> str:
    """The version of MLflow from whose messages the wire is made."""
    title: str = orjson.loads(Path(__file__).with_name("mlflow.json").read_bytes())["title"]
    return title.rpartition(" ")[2]


@implements("mlflow", "server.health")
def health(call: Call) -> str:
    return "OK"


@implements("mlflow", "server.version")
def version(call: Call) -> str:
    return _version()


@implements("mlflow", "server.getServerInfo")
def info(call: Call) -> dict[str, Any]:
    return {
        "store_type": None,
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
        "presigned_upload_run_id_supported": False,
        "presigned_upload_model_id_supported": False,
        "features_enabled": {"gateway": False},
    }
