"""TRANSFORM_ONLY: a model that learns nothing; it keeps what its TRANSFORM saw, for ML.TRANSFORM."""

from __future__ import annotations

from typing import ClassVar

from portico.ml.bqml.model import Given, Model
from portico.ml.bqml.options import COMMON, Option


class TransformOnly(Model):
    TYPES: ClassVar[dict[str, str]] = {"TRANSFORM_ONLY": "TRANSFORM_ONLY"}
    OPTIONS: ClassVar[dict[str, Option]] = COMMON

    def fit(self, given: Given) -> None:
        """Nothing: the rows are TRANSFORM's already."""
