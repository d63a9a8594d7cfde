from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import InvalidArgument
from portico.services.standard.fields import FieldTypes
from portico.services.standard.masks import apply_field_mask, apply_update_mask, check_field_mask

Schema = Callable[[str], FieldTypes]
Update = Callable[[dict, str | None], dict]

MODEL = {
    "name": "projects/p/locations/l/models/1",
    "displayName": "old",
    "description": "text",
    "labels": {"env": "prod", "team": "a", "dotted.key": "x"},
    "metadataSchemaUri": "gs://x",
    "explanationSpec": {"parameters": {"topK": 3, "outputIndices": [0]}},
    "versionAliases": ["default"],
}
OUTPUT_ONLY = {"name", "createTime", "etag"}


@pytest.fixture(scope="session")
def update(schema: Schema) -> Update:
    def run(patch: dict, mask: str | None) -> dict:
        before, given_patch = deepcopy(MODEL), deepcopy(patch)
        result = apply_update_mask(
            MODEL,
            patch,
            mask,
            output_only=OUTPUT_ONLY,
            immutable={"metadataSchemaUri"},
            fields=schema("Model"),
        )
        assert before == MODEL and given_patch == patch
        return result

    return run


def changed(result: dict) -> dict:
    return {name: result.get(name) for name in {*result, *MODEL} if result.get(name) != MODEL.get(name)}


@pytest.mark.parametrize(
    ("mask", "patch", "expected"),
    [
        ("displayName", {"displayName": "new", "description": "ignored"}, {"displayName": "new"}),
        ("display_name", {"displayName": "new"}, {"displayName": "new"}),
        ("description", {}, {"description": None}),
        ("labels", {"labels": {"a": "b"}}, {"labels": {"a": "b"}}),
        ("labels.env", {"labels": {"env": "d", "team": "-"}}, {"labels": MODEL["labels"] | {"env": "d"}}),
        ("labels.new_key", {"labels": {"new_key": "1"}}, {"labels": MODEL["labels"] | {"new_key": "1"}}),
        ("labels.env", {}, {"labels": {"team": "a", "dotted.key": "x"}}),
        ("labels.`dotted.key`", {}, {"labels": {"env": "prod", "team": "a"}}),
        (
            "explanation_spec.parameters.top_k",
            {"explanationSpec": {"parameters": {"topK": 5}}},
            {"explanationSpec": {"parameters": {"topK": 5, "outputIndices": [0]}}},
        ),
        ("explanationSpec.parameters.topK", {}, {"explanationSpec": {"parameters": {"outputIndices": [0]}}}),
        ("explanationSpec.metadata.inputs", {}, {}),
        ("displayName, description", {"displayName": "n"}, {"displayName": "n", "description": None}),
        ("name,etag,displayName", {"name": "x", "etag": "y", "displayName": "n"}, {"displayName": "n"}),
        (None, {"displayName": "n", "description": "", "labels": {}, "name": "x"}, {"displayName": "n"}),
        ("", {"displayName": "n"}, {"displayName": "n"}),
        ("metadataSchemaUri", {"metadataSchemaUri": "gs://x"}, {}),
        ("metadataSchemaUri", {}, {}),
    ],
)  # fmt: skip
def test_update(update: Update, mask: str | None, patch: dict, expected: dict) -> None:
    assert changed(update(patch, mask)) == expected


def test_star_replaces_what_can_be_written(update: Update) -> None:
    assert update({"displayName": "n"}, "*") == {
        "name": MODEL["name"],
        "metadataSchemaUri": "gs://x",
        "displayName": "n",
    }


@pytest.mark.parametrize(
    ("mask", "patch", "field"),
    [
        ("no_such_field", {}, "updateMask"),
        ("explanationSpec.nothing", {}, "updateMask"),
        ("displayName.first", {}, "updateMask"),
        ("supportedExportFormats.id", {}, "updateMask"),
        ("displayName,,description", {}, "updateMask"),
        ("labels..a", {}, "updateMask"),
        ("labels.*", {}, "updateMask"),
        ("display name", {}, "updateMask"),
        ("metadataSchemaUri", {"metadataSchemaUri": "gs://y"}, "metadataSchemaUri"),
        (None, {"metadataSchemaUri": "gs://y"}, "metadataSchemaUri"),
    ],
)
def test_update_refused(update: Update, mask: str | None, patch: dict, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        update(patch, mask)
    assert caught.value.violations[0].field == field


LISTING = {
    "items": [{"name": "a", "size": "1", "owner": {"entity": "me", "id": "7"}}, {"name": "b", "size": "2"}],
    "prefixes": ["x/", "y/"],
    "nextPageToken": "t",
    "kind": "storage#objects",
}


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, LISTING),
        ("*", LISTING),
        ("nextPageToken", {"nextPageToken": "t"}),
        ("next_page_token", {"nextPageToken": "t"}),
        (
            "items(name,size),nextPageToken",
            {"items": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}], "nextPageToken": "t"},
        ),
        ("items/name", {"items": [{"name": "a"}, {"name": "b"}]}),
        ("items.name, items.size", {"items": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]}),
        ("items(owner/id)", {"items": [{"owner": {"id": "7"}}, {}]}),
        ("items/owner(id)", {"items": [{"owner": {"id": "7"}}, {}]}),
        ("*/owner/id", {"items": [{"owner": {"id": "7"}}, {}], "prefixes": []}),
        ("items/name,items", {"items": LISTING["items"]}),
        ("items,items(name)", {"items": LISTING["items"]}),
        ("absent", {}),
        ("prefixes", {"prefixes": ["x/", "y/"]}),
    ],
)
def test_selections(mask: str | None, expected: dict) -> None:
    assert apply_field_mask(LISTING, mask) == expected


def test_selections_of_no_field(schema: Schema) -> None:
    listed = schema("ListModelsResponse")
    for known in (
        "models(name,deployedModels/endpoint),nextPageToken",
        "models/labels/any",
        "*/name",
        "next_page_token",
    ):
        check_field_mask(known, listed)
    for unknown in ("items", "models(name,nope)", "models/deployedModels/nope"):
        with pytest.raises(InvalidArgument, match=r"Invalid field selection (items|nope)"):
            check_field_mask(unknown, listed)


@pytest.mark.parametrize("mask", ["a,", "a(b", "a)", "a(b))", "(a)", "a//b", "a b", "," * 5, "a(" * 2000])
def test_broken_selections(mask: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        apply_field_mask(LISTING, mask, parameter="fields")
    assert caught.value.violations[0].field == "fields"


@given(st.text(alphabet="abitems,./()*` _", max_size=30), st.text(alphabet="displayNm_.,`* ", max_size=30))
@settings(deadline=None)
def test_anything_is_a_mask_or_an_invalid_argument(update: Update, selection: str, mask: str) -> None:
    for run in (lambda: apply_field_mask(LISTING, selection), lambda: update({"displayName": "x"}, mask)):
        try:
            assert isinstance(run(), dict)
        except InvalidArgument as error:
            assert error.violations
