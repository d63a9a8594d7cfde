"""Tags of projects and buckets, and conditions that ask for them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.cloud import storage
from googleapiclient.errors import HttpError
from tests.services.iam.test_permissions import Someone, grant, iam  # noqa: F401
from tests.services.iam.test_service_accounts import client

PROJECT = "tagged"
HERE = f"//cloudresourcemanager.googleapis.com/projects/{PROJECT}"


def refused(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.resp.status, str(caught.value)


def made(request: Any) -> dict[str, Any]:
    """What an operation, which has ended when it is told, has made."""
    told = request.execute()
    assert told["done"] and told["response"].pop("@type").startswith("type.googleapis.com/google.")
    return dict(told["response"])


@pytest.fixture(scope="module")
def manager(portico: Any) -> Any:
    return client(portico, "cloudresourcemanager", "v3")


@pytest.fixture(scope="module")
def values(manager: Any) -> dict[str, Any]:
    """The key env of the project, and its values prod and dev."""
    found = {
        "key": made(manager.tagKeys().create(body={"parent": f"projects/{PROJECT}", "shortName": "env"}))
    }
    for short in ("prod", "dev"):
        body = {"parent": found["key"]["name"], "shortName": short}
        found[short] = made(manager.tagValues().create(body=body))
    return found


def test_keys_and_values(manager, values):
    key, prod = values["key"], values["prod"]
    assert key["namespacedName"] == f"{PROJECT}/env" and prod["namespacedName"] == f"{PROJECT}/env/prod"
    assert manager.tagKeys().get(name=key["name"]).execute() == key
    assert manager.tagKeys().list(parent=f"projects/{PROJECT}").execute()["tagKeys"] == [key]
    shown = manager.tagValues().list(parent=key["name"]).execute()["tagValues"]
    assert [one["shortName"] for one in shown] == ["dev", "prod"]
    keys, named = manager.tagKeys(), {"parent": f"projects/{PROJECT}", "shortName": "env"}
    assert refused(keys.create(body=named))[0] == 409
    assert refused(keys.create(body={**named, "shortName": "-x"}))[0] == 400
    assert refused(keys.create(body={**named, "parent": "organizations/1"}))[0] == 400
    assert refused(keys.create(body={**named, "shortName": "y"}, validateOnly=True))[0] == 501
    assert refused(keys.create(body={**named, "shortName": "y", "purpose": "GCE_FIREWALL"}))[0] == 501
    assert "values" in refused(keys.delete(name=key["name"]))[1]
    assert refused(manager.tagValues().get(name="tagValues/1"))[0] == 404


def test_a_condition_asks_for_the_tags_of_a_bucket_and_its_project(portico, manager, values, grant, iam):  # noqa: F811
    someone = Someone(portico, iam, PROJECT)
    google = storage.Client(PROJECT)
    names = [f"tagged-{time.time_ns()}-{at}" for at in "ab"]
    for name in names:
        google.create_bucket(name).blob("o").upload_from_string("x")
    key, prod, dev = values["key"], values["prod"], values["dev"]
    full = f"//storage.googleapis.com/projects/_/buckets/{names[0]}"

    def reads(name: str) -> bool:
        return someone.ask("GET", f"/storage/v1/b/{name}/o/o").status_code == 200

    condition = f"resource.matchTag('{PROJECT}/env', 'prod') && !resource.matchTag('{PROJECT}/env', 'dev')"
    grant(someone.member, "roles/storage.objectViewer", PROJECT, condition)
    assert [reads(one) for one in names] == [False, False]
    bindings = manager.tagBindings()
    own = made(bindings.create(body={"parent": full, "tagValue": prod["name"]}))
    assert own["tagValueNamespacedName"] == f"{PROJECT}/env/prod"
    assert [reads(one) for one in names] == [True, False]
    assert bindings.list(parent=full).execute()["tagBindings"] == [own]
    assert refused(bindings.create(body={"parent": full, "tagValue": prod["name"]}))[0] == 409
    other = refused(bindings.create(body={"parent": full, "tagValueNamespacedName": f"{PROJECT}/env/dev"}))
    assert other[0] == 400 and "another value" in other[1]
    assert "is bound" in refused(manager.tagValues().delete(name=prod["name"]))[1]
    # The project's is inherited where the bucket has no other value of the key.
    above = made(bindings.create(body={"parent": HERE, "tagValue": prod["name"]}))
    assert [reads(one) for one in names] == [True, True]
    bindings.delete(name=own["name"]).execute()
    bindings.create(body={"parent": full, "tagValue": dev["name"]}).execute()
    assert [reads(one) for one in names] == [False, True]
    bindings.delete(name=above["name"]).execute()
    assert not reads(names[1])
    assert refused(bindings.delete(name=above["name"]))[0] == 404
    number = f"resource.hasTagKeyId('{key['name']}') && resource.matchTagId('{key['name']}', '{dev['name']}')"
    grant(someone.member, "roles/storage.objectViewer", PROJECT, number)
    assert [reads(one) for one in names] == [True, False]
    google.bucket(names[0]).delete(force=True)
    google.create_bucket(names[0]).blob("o").upload_from_string("x")
    assert not reads(names[0]), "what has the name of what was deleted has not its tags"


def test_who_may_tag(portico, manager, values, grant, iam):  # noqa: F811
    """What has the tag must let it, and the tag's project: else one would give oneself what a condition gives."""
    someone = Someone(portico, iam, PROJECT)
    own = f"tagged-own-{time.time_ns()}"
    storage.Client(PROJECT).create_bucket(own)
    full = f"//storage.googleapis.com/projects/_/buckets/{own}"
    bind = {"parent": full, "tagValue": values["prod"]["name"]}

    def tried(verb: str, path: str, body: Any = None) -> int:
        return someone.ask(verb, f"/apis/cloudresourcemanager/v3/{path}", body).status_code

    assert tried("POST", "tagBindings", bind) == 403
    assert tried("GET", f"tagKeys?parent=projects/{PROJECT}") == 403
    assert tried("GET", values["key"]["name"]) == 403 and tried("DELETE", values["dev"]["name"]) == 403
    assert tried("GET", f"{values['key']['name']}?parent=projects/other") in (400, 403)
    grant(someone.member, "roles/storage.admin", PROJECT)
    assert tried("POST", "tagBindings", bind) == 403, "the tag is not theirs to give"
    assert tried("GET", f"tagBindings?parent={full}") == 200
    grant(someone.member, "roles/resourcemanager.tagUser", PROJECT)
    assert tried("POST", "tagBindings", bind) == 200
    assert (
        tried(
            "POST", "tagBindings", {**bind, "parent": "//storage.googleapis.com/projects/_/buckets/no-such"}
        )
        == 403
    )
    assert tried("POST", "tagKeys", {"parent": f"projects/{PROJECT}", "shortName": "mine"}) == 403
    nothing = {**bind, "parent": f"//aiplatform.googleapis.com/projects/{PROJECT}/locations/l/models/1"}
    assert refused(manager.tagBindings().create(body=nothing))[0] == 400
