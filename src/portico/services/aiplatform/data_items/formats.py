"""What Google's schemas of image and text datasets say: of what a dataset is, and how its index files are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from portico.errors import InvalidArgument, Unimplemented
from portico.store.resources import Resource

_SCHEMAS: Final = "gs://google-cloud-aiplatform/schema/dataset/"
KINDS: Final = {f"{_SCHEMAS}metadata/{kind}_1.0.0.yaml": kind for kind in ("image", "text")}
ML_USE: Final = "aiplatform.googleapis.com/ml_use"
SET: Final = "aiplatform.googleapis.com/annotation_set_name"


@dataclass(frozen=True, slots=True)
class Format:
    """How an index file annotates: `key` names an item's annotation in JSON lines (with an s: several), `annotation`
    is the name of its schema. `single`: an item has one at most. `labels`: each is a display name, so that CSV has it.
    """

    kind: str
    problem: str
    annotation: str
    key: str
    single: bool = False
    labels: bool = False

    @property
    def schema(self) -> str:
        """The annotation's payloadSchemaUri."""
        return f"{_SCHEMAS}annotation/{self.annotation}_1.0.0.yaml"

    def output_schema(self) -> str:
        """What lies beside exported items and says how their lines are written (OpenAPI 3.0.2, YAML)."""
        content = "textContent" if self.kind == "text" else f"{self.kind}GcsUri"
        return (
            f"title: {self.annotation}\ntype: object\nproperties:\n  {content}:\n    type: string\n"
            f"  {self.key}s:\n    type: array\n    items:\n      description: as {self.schema}, with "
            "annotationResourceLabels\n      type: object\n  dataItemResourceLabels:\n    type: object\n"
            "    additionalProperties:\n      type: string\n"
        )


_FORMATS: Final = {
    f"{_SCHEMAS}ioformat/{name}_io_format_1.0.0.yaml": format
    for name, format in {
        **{f"{kind}_classification_{how}_label": Format(
            kind, f"{kind.upper()}_CLASSIFICATION_{how.upper()}_LABEL", f"{kind}_classification",
            "classificationAnnotation", single=how == "single", labels=True,
        ) for kind in ("image", "text") for how in ("single", "multi")},
        "image_bounding_box": Format("image", "IMAGE_BOUNDING_BOX", "image_bounding_box", "boundingBoxAnnotation"),
        "text_extraction": Format("text", "TEXT_EXTRACTION", "text_extraction", "textSegmentAnnotation"),
        "text_sentiment": Format("text", "TEXT_SENTIMENT", "text_sentiment", "sentimentAnnotation", single=True),
    }.items()
}  # fmt: skip


def kind_of(dataset: Resource) -> str:
    """ "image" or "text"; empty for a dataset of a table."""
    return KINDS.get(dataset.body["metadataSchemaUri"], "")


def item_schema(kind: str) -> str:
    return f"{_SCHEMAS}dataitem/{kind}_1.0.0.yaml"


def format_of(uri: str, kind: str, field: str) -> Format:
    """That of an importSchemaUri, for a dataset of `kind`.

    Raises:
        InvalidArgument: it is of another kind. Unimplemented: there is none of this name here.
    """
    found = _FORMATS.get(uri)
    if found is None:
        raise Unimplemented(
            f"Importing by {uri} is not built in Portico yet; by {', '.join(_FORMATS)} it is."
        )
    if found.kind != kind:
        raise InvalidArgument(f"{uri} is of {found.kind} items; the dataset is of {kind} items.", field=field)
    return found


def of_problem(problem: str) -> Format:
    """That of a saved query's problemType."""
    return next(one for one in _FORMATS.values() if one.problem == problem)


def of_kind(kind: str) -> list[Format]:
    """One for each schema that annotations of items of `kind` can have."""
    return list({one.schema: one for one in _FORMATS.values() if one.kind == kind}.values())


def of_annotation(uri: str, kind: str, field: str) -> Format:
    """One by which annotations of this payloadSchemaUri are written.

    Raises:
        InvalidArgument: no item of a dataset of `kind` has such.
    """
    for one in _FORMATS.values():
        if one.schema == uri and one.kind == kind:
            return one
    known = ", ".join(sorted({one.schema for one in _FORMATS.values() if one.kind == kind}))
    raise InvalidArgument(
        f"{uri!r} is no schema of annotations of {kind} items; there are {known}.", field=field
    )
