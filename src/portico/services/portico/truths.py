"""Which truths of labels can be read: as what an endpoint's deployed models predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.portico.steward.evidence import truth_of
from portico.store import resources
from portico.store.resources import Resource


@dataclass(frozen=True, slots=True)
class Truths:
    """`every` are the classes of each deployed model that says what it predicts, none for a regression.

    Where nobody says, any truth can be read.
    """

    every: tuple[tuple[str, ...], ...]

    def readable(self, truth: Any) -> bool:
        return not self.every or any(math.isfinite(truth_of(truth, classes)) for classes in self.every)

    def refused(self, truth: Any) -> str:
        """Why a truth is no label here, in words; empty where it may be one.

        A class that no model knows may be new in the world: it is taken, and counted as unreadable.
        """
        if any(self.every) or self.readable(truth):
            return ""
        return f"is {_short(truth)}, and the deployed model predicts numbers: write a number, without a unit"


ANY = Truths(())


def truths_of(connection: Connection, endpoint: Resource) -> Truths:
    told: list[tuple[str, ...]] = []
    for deployed in endpoint.body.get("deployedModels") or []:
        version = resources.get(connection, f"{deployed['model']}@{deployed['modelVersionId']}")
        metadata = (version.body.get("metadata") or {}) if version else {}
        said = metadata if isinstance(metadata, dict) else {}
        found = _classes(said.get("predictionType", ""), said.get("classes") or [])
        if found is None:
            found = _by_steward(connection, endpoint.name)
        if found is None:
            return Truths(())
        told.append(found)
    return Truths(tuple(told))


def _by_steward(connection: Connection, endpoint: str) -> tuple[str, ...] | None:
    """What the endpoint's steward says of a model that does not say it itself."""
    for steward in resources.listed(connection, "portico:stewards"):
        if steward.body["endpoint"] == endpoint:
            model = steward.body.get("model") or {}
            return _classes(str(model.get("predictionType", "")).lower(), model.get("classes") or [])
    return None


def _classes(kind: str, classes: Sequence[str]) -> tuple[str, ...] | None:
    if kind == "regression":
        return ()
    return tuple(classes) if kind == "classification" and classes else None


def _short(truth: Any) -> str:
    text = repr(truth)
    return text if len(text) <= 60 else f"{text[:57]}…"
