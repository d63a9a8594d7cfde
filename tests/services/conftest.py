from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files

import pytest

from portico.services.standard.fields import FieldTypes

Schema = Callable[[str], FieldTypes]


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Gives the declared fields of a Vertex AI message, by its short name."""
    document = files("googleapiclient") / "discovery_cache" / "documents" / "aiplatform.v1.json"
    schemas = json.loads(document.read_text())["schemas"]
    return cache(lambda name: FieldTypes(schemas, f"GoogleCloudAiplatformV1{name}"))
