"""Tags by Google's client: changing, looking up by name, their policies, and which count for something."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import resourcemanager_v3, storage
from google.iam.v1 import policy_pb2
from tests.services.iam.test_permissions import Someone, iam  # noqa: F401

PROJECT = "tags-policies"


def of(portico: Any, kind: Any, token: str = "") -> Any:
    """A client of a service of Resource Manager's."""
    credentials: Any = AnonymousCredentials()
    if token:
        from google.oauth2.credentials import Credentials

        credentials = Credentials(token)
    options = {"api_endpoint": f"{portico.url}/apis/cloudresourcemanager"}
    return kind(credentials=credentials, transport="rest", client_options=options)


@pytest.fixture(scope="module")
def keys(portico: Any) -> Any:
    return of(portico, resourcemanager_v3.TagKeysClient)


@pytest.fixture(scope="module")
def values(portico: Any) -> Any:
    return of(portico, resourcemanager_v3.TagValuesClient)


@pytest.fixture
def tag(keys: Any, values: Any) -> tuple[Any, Any]:
    """A new key and its value."""
    key = keys.create_tag_key(
        tag_key={"parent": f"projects/{PROJECT}", "short_name": f"k{time.time_ns()}"}
    ).result()
    return key, values.create_tag_value(tag_value={"parent": key.name, "short_name": "on"}).result()


def test_the_description_changes_and_nothing_else(keys: Any, values: Any, tag: tuple[Any, Any]) -> None:
    for client, one, verb in ((keys, tag[0], "tag_key"), (values, tag[1], "tag_value")):
        change = getattr(client, f"update_{verb}")
        one.description = "what it is for"
        changed = change(**{verb: one}, update_mask="description").result()
        assert changed.description == "what it is for" and changed.short_name == one.short_name
        assert getattr(client, f"get_{verb}")(name=one.name) == changed
        with pytest.raises(exceptions.Conflict, match="was changed since"):
            change(**{verb: one})  # the etag is the old one's
        changed.description = ""
        assert change(**{verb: changed}).result().description == ""
        with pytest.raises(exceptions.BadRequest, match="description alone"):
            change(**{verb: {"name": one.name, "parent": "projects/x"}}, update_mask="parent")
    with pytest.raises(exceptions.NotFound):
        keys.update_tag_key(tag_key={"name": "tagKeys/1", "description": "x"})


def test_they_are_found_by_name(keys: Any, values: Any, tag: tuple[Any, Any]) -> None:
    key, value = tag
    number = key.parent.removeprefix("projects/")
    for project in (PROJECT, number):
        assert keys.get_namespaced_tag_key(name=f"{project}/{key.short_name}") == key
        assert values.get_namespaced_tag_value(name=f"{project}/{key.short_name}/on") == value
    with pytest.raises(exceptions.NotFound):
        values.get_namespaced_tag_value(name=f"{PROJECT}/{key.short_name}/off")
    with pytest.raises(exceptions.BadRequest, match="PROJECT/KEY/VALUE"):
        values.get_namespaced_tag_value(name=key.namespaced_name)


def test_what_counts_for_a_bucket_is_its_own_and_its_projects(
    portico: Any, keys: Any, values: Any, tag: tuple[Any, Any]
) -> None:
    bindings = of(portico, resourcemanager_v3.TagBindingsClient)
    bucket = storage.Client(PROJECT).create_bucket(f"tags-{time.time_ns()}").name
    full = f"//storage.googleapis.com/projects/_/buckets/{bucket}"
    other = keys.create_tag_key(
        tag_key={"parent": f"projects/{PROJECT}", "short_name": f"o{time.time_ns()}"}
    ).result()
    above = values.create_tag_value(tag_value={"parent": other.name, "short_name": "above"}).result()
    project = f"//cloudresourcemanager.googleapis.com/projects/{PROJECT}"
    for parent, value in ((full, tag[1]), (project, above)):
        bindings.create_tag_binding(tag_binding={"parent": parent, "tag_value": value.name}).result()
    found = {one.tag_value: one for one in bindings.list_effective_tags(parent=full)}
    assert not found[tag[1].name].inherited and found[above.name].inherited
    assert found[above.name].namespaced_tag_value == above.namespaced_name
    assert found[above.name].namespaced_tag_key == other.namespaced_name
    assert (found[above.name].tag_key, found[above.name].tag_key_parent_name) == (other.name, other.parent)
    with pytest.raises(exceptions.BadRequest, match="full name"):
        list(bindings.list_effective_tags(parent="x"))


def test_a_policy_of_a_key_counts_for_its_values(
    portico: Any,
    iam: Any,  # noqa: F811
    keys: Any,
    values: Any,
    tag: tuple[Any, Any],
) -> None:
    key, value = tag
    someone = Someone(portico, iam, PROJECT)
    theirs_keys = of(portico, resourcemanager_v3.TagKeysClient, someone.token)
    theirs = of(portico, resourcemanager_v3.TagValuesClient, someone.token)
    permissions = ["resourcemanager.tagValues.get", "resourcemanager.tagValues.update"]

    def held() -> list[str]:
        asked = {"resource": value.name, "permissions": permissions}
        return list(theirs.test_iam_permissions(request=asked).permissions)

    assert held() == []
    with pytest.raises(exceptions.Forbidden):
        theirs.get_tag_value(name=value.name)
    policy = keys.get_iam_policy(resource=key.name)
    assert not policy.bindings
    policy.bindings.append(
        policy_pb2.Binding(role="roles/resourcemanager.tagViewer", members=[someone.member])
    )
    made = keys.set_iam_policy(request={"resource": key.name, "policy": policy})
    assert keys.get_iam_policy(resource=key.name) == made
    with pytest.raises(exceptions.Conflict):
        keys.set_iam_policy(request={"resource": key.name, "policy": policy})
    assert held() == permissions[:1]
    assert theirs.get_tag_value(name=value.name) == value
    assert theirs_keys.get_namespaced_tag_key(name=key.namespaced_name) == key
    with pytest.raises(exceptions.Forbidden):
        theirs.update_tag_value(tag_value={"name": value.name, "description": "mine"})
    own = policy_pb2.Policy(
        bindings=[policy_pb2.Binding(role="roles/resourcemanager.tagAdmin", members=[someone.member])]
    )
    values.set_iam_policy(request={"resource": value.name, "policy": own})
    assert held() == permissions
    done = theirs.update_tag_value(tag_value={"name": value.name, "description": "mine"})
    assert done.result().description == "mine"
    with pytest.raises(exceptions.Forbidden):
        theirs_keys.get_iam_policy(resource=key.name)
    with pytest.raises(exceptions.NotFound):
        keys.get_iam_policy(resource="tagKeys/1")
