"""TRANSFORM outside of the warehouse: where a registered model is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

from portico.warehouse import macros
from portico.warehouse.models import preprocessing, transforms
from portico.warehouse.models.transforms import Transform


def transform_of(folder: Path) -> tuple[list[dict[str, str]], Callable[[pa.Table], pa.Table]]:
    """The columns that a model's TRANSFORM reads, and what it makes of rows of them; from several threads."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET threads = 1")
    macros.install(connection)
    preprocessing.install(connection)
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    transform = Transform.of(json.loads((folder / transforms.FILE).read_text()))
    inputs = [one for one in transform.inputs if one["name"] in transform.needed()]
    optional = {name.lower() for name in transform.labels}

    def transformed(table: pa.Table) -> pa.Table:
        with connection.cursor() as cursor:
            return transform.apply(cursor, table, optional)

    return inputs, transformed
