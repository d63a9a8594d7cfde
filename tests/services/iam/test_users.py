"""Users, their tokens, and why somebody may do something: the command line, and Google's troubleshooter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
import requests
from google.cloud import storage
from google.oauth2 import credentials as oauth2
from googleapiclient.errors import HttpError
from tests.services.iam.test_permissions import client


def run(portico: Any, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "portico.cli.main", *words, "--home", str(portico.home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == code, done.stderr
    return (done.stdout or done.stderr).strip()


def test_users_are_added_listed_disabled_and_call_with_tokens(portico):
    email = f"alice-{time.time_ns()}@example.com"
    assert run(portico, "users", "add", email, "--name", "Alice") == f"{email}  Alice"
    assert "already" in run(portico, "users", "add", email, code=1)
    assert f"{email}  Alice" in run(portico, "users", "list").splitlines()
    token = run(portico, "users", "token", email)
    bucket = storage.Client("users").create_bucket(f"users-{time.time_ns()}")
    bucket.blob("a").upload_from_string("x")

    def read() -> int:
        url = f"{portico.url}/storage/v1/b/{bucket.name}/o/a"
        return requests.get(url, headers={"authorization": f"Bearer {token}"}, timeout=240).status_code

    assert read() == 403
    asked = ("iam", "why", f"user:{email}", "storage.objects.get", f"gs://{bucket.name}/a")
    before = run(portico, *asked)
    assert before.startswith(f"user:{email} does not have storage.objects.get")
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {f"user:{email}"}})
    bucket.set_iam_policy(policy)
    assert read() == 200
    assert (
        storage.Client("users", oauth2.Credentials(token)).bucket(bucket.name).blob("a").download_as_bytes()
        == b"x"
    )
    after = run(portico, *asked)
    assert after.startswith(f"user:{email} has storage.objects.get")
    assert f"roles/storage.objectViewer grants it to user:{email}" in after
    assert "roles/storage.legacyBucketReader does not: the role lacks it" in after
    told = json.loads(run(portico, *asked, "--json"))
    assert (
        told["access"] == "GRANTED" and len(told["explainedPolicies"]) == 3
    )  # the bucket's, its project's, the object's

    assert run(portico, "users", "disable", email).endswith("(disabled)")
    assert read() == 401
    assert "is disabled" in run(portico, "users", "token", email, code=1)
    run(portico, "users", "enable", email)
    assert read() == 200
    run(portico, "users", "delete", email)
    assert read() == 401


def test_a_group_is_a_principal_of_policies(portico):
    number = time.time_ns()
    email, team, outer = (f"{one}-{number}@example.com" for one in ("bob", "team", "all"))
    run(portico, "users", "add", email)
    assert run(portico, "users", "group", "add", team, email.upper()).splitlines() == [team, f"  {email}"]
    headers = {"authorization": f"Bearer {run(portico, 'users', 'token', email)}"}
    bucket = storage.Client("users").create_bucket(f"users-{number}")
    bucket.blob("a").upload_from_string("x")

    def read() -> int:
        url = f"{portico.url}/storage/v1/b/{bucket.name}/o/a"
        return requests.get(url, headers=headers, timeout=240).status_code

    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {f"group:{outer}"}})
    bucket.set_iam_policy(policy)
    assert read() == 403
    api = f"{portico.url}/apis/portico/v1/groups"
    assert requests.post(api, json={"email": outer, "members": [team]}, timeout=240).status_code == 200
    assert read() == 200
    assert f"{outer}  (1 members)" in run(portico, "users", "group", "list").splitlines()
    run(portico, "users", "group", "add", team, outer)  # in each other: it ends all the same
    run(portico, "users", "group", "remove", team, email)
    assert read() == 403
    run(portico, "users", "group", "add", team, email)
    assert read() == 200
    run(portico, "users", "group", "delete", team)
    assert read() == 403
    assert "There is no group" in run(portico, "users", "group", "list", team, code=1)
    assert "is no member" in run(portico, "users", "group", "remove", outer, email, code=1)
    assert "is a user" in requests.post(api, json={"email": email}, timeout=240).text
    assert requests.get(api, headers=headers, timeout=240).status_code == 403


@pytest.mark.parametrize("wrong", ["nobody", "a b@example.com", "x@p.iam.gserviceaccount.com"])
def test_what_is_no_person_is_refused(portico, wrong):
    assert "is no person's e-mail address" in run(portico, "users", "add", wrong, code=1)


def test_only_the_owner_makes_users_and_their_tokens(portico):
    email = f"mallory-{time.time_ns()}@example.com"
    run(portico, "users", "add", email)
    projects = client(portico, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource="projects/of-mallory", body={}).execute()
    policy["bindings"].append({"role": "roles/owner", "members": [f"user:{email}"]})
    projects.setIamPolicy(resource="projects/of-mallory", body={"policy": policy}).execute()
    headers = {
        "authorization": f"Bearer {run(portico, 'users', 'token', email)}",
        "content-type": "application/json",
    }
    for verb, path, body in (
        ("POST", "users", {"email": "other@example.com"}),
        ("GET", "users", None),
        ("POST", f"users/{email}:createToken", {}),
        ("POST", "clock:advance", {"duration": "1s"}),
    ):
        answer = requests.request(
            verb, f"{portico.url}/apis/portico/v1/{path}", json=body, headers=headers, timeout=240
        )
        assert answer.status_code == 403, path


def test_googles_troubleshooter(portico):
    troubleshooter = client(portico, "policytroubleshooter", "v1").iam()
    asked = {
        "principal": "nobody@example.com",
        "permission": "aiplatform.models.get",
        "fullResourceName": "//aiplatform.googleapis.com/projects/p/locations/l/models/1",
    }
    found = troubleshooter.troubleshoot(body={"accessTuple": asked}).execute()
    assert found["access"] == "NOT_GRANTED"
    [policy] = found["explainedPolicies"]
    assert policy["fullResourceName"] == "//cloudresourcemanager.googleapis.com/projects/p"
    with pytest.raises(HttpError, match="There is no permission"):
        troubleshooter.troubleshoot(body={"accessTuple": asked | {"permission": "no.such.one"}}).execute()
    with pytest.raises(HttpError, match="no full resource name"):
        troubleshooter.troubleshoot(body={"accessTuple": asked | {"fullResourceName": "x"}}).execute()
