"""Data items, their annotations, what these mean, and the sets of annotations: written by imports."""

from __future__ import annotations

from portico.services.standard.collection import Collection, register

_PATH = "projects.locations.datasets"
DATA_ITEMS = Collection(f"{_PATH}.dataItems", "DataItem")
ANNOTATIONS = Collection(f"{_PATH}.dataItems.annotations", "Annotation")
SPECS = Collection(f"{_PATH}.annotationSpecs", "AnnotationSpec")
SAVED_QUERIES = Collection(f"{_PATH}.savedQueries", "SavedQuery")
register(DATA_ITEMS, "list")
register(ANNOTATIONS, "list")
register(SPECS, "get")
register(SAVED_QUERIES, "list", "delete")
