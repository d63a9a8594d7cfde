"""A client of ML Metadata, and a metadata store of a test's own."""

from __future__ import annotations

import uuid
from typing import Any

import pytest


@pytest.fixture
def client(aiplatform: Any, portico: Any) -> Any:
    from google.cloud import aiplatform_v1

    return aiplatform_v1.MetadataServiceClient(transport="rest", client_options={"api_endpoint": portico.url})


@pytest.fixture
def store(client: Any) -> str:
    """A metadata store of the test's own."""
    parent = "projects/test-project/locations/us-central1"
    made = client.create_metadata_store(
        parent=parent, metadata_store={"description": "mine"}, metadata_store_id=f"s-{uuid.uuid4().hex}"
    )
    return str(made.result().name)


def new(client: Any, store: str, what: str, id: str = "", **fields: Any) -> Any:
    """A new artifact, execution or context."""
    create = getattr(client, f"create_{what}")
    return create(parent=store, **{what: fields, f"{what}_id": id or f"x-{uuid.uuid4().hex}"})
