"""People sign in by password: sessions that end, in the browser and on the server, and what is tried against them."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import requests
from tests.console.test_console import Browser
from tests.services.iam.test_users import run

PASSWORD = "correct horse battery"


@pytest.fixture
def email(portico: Any) -> str:
    """Of somebody who may look at a project, with a password."""
    made = f"person-{time.time_ns()}@example.com"
    run(portico, "users", "add", made)
    assert set_password(portico, made).status_code == 200
    policy = {"bindings": [{"role": "roles/viewer", "members": [f"user:{made}"]}]}
    url = f"{portico.url}/apis/cloudresourcemanager/v3/projects/signing-in:setIamPolicy"
    assert requests.post(url, json={"policy": policy}, timeout=240).status_code == 200
    return made


def set_password(portico: Any, email: str, password: str = PASSWORD) -> requests.Response:
    url = f"{portico.url}/apis/portico/v1/users/{email}:setPassword"
    return requests.post(url, json={"password": password}, timeout=240)


def token(portico: Any, email: str, password: str = PASSWORD) -> tuple[int, str]:
    """The status, and the token or what is wrong."""
    form = {"grant_type": "password", "username": email, "password": password}
    answer = requests.post(f"{portico.url}/-/token", form, timeout=240)
    return answer.status_code, answer.json().get("access_token") or answer.json()["error_description"]


def status(portico: Any, shown: str) -> int:
    url = f"{portico.url}/v1/projects/signing-in/locations/us-central1/models"
    return requests.get(url, headers={"authorization": f"Bearer {shown}"}, timeout=240).status_code


def test_a_password_gives_a_session_that_ends(portico, email):
    shown, other = token(portico, email)[1], token(portico, email.upper())[1]
    assert [status(portico, one) for one in (shown, other)] == [200, 200]
    assert requests.post(f"{portico.url}/-/revoke", {"token": shown}, timeout=240).status_code == 200
    assert [status(portico, one) for one in (shown, other)] == [401, 200]
    assert requests.post(f"{portico.url}/-/revoke", {"token": "x"}, timeout=240).status_code == 200
    assert set_password(portico, email, "another password").json()["hasPassword"]
    assert status(portico, other) == 401 and token(portico, email)[0] == 400
    third = token(portico, email, "another password")[1]
    run(portico, "users", "disable", email)
    assert status(portico, third) == 401 and token(portico, email, "another password")[0] == 400
    run(portico, "users", "enable", email)
    assert status(portico, third) == 401  # what was ended stays ended
    fourth = token(portico, email, "another password")[1]
    run(portico, "users", "delete", email)
    run(portico, "users", "add", email)
    assert status(portico, fourth) == 401 and token(portico, email, "another password")[0] == 400


def test_the_owner_signs_in_elsewhere_with_a_token(portico, email):
    shown = run(portico, "users", "token", "owner").strip()
    everything = f"{portico.url}/apis/portico/v1/users"
    assert (
        requests.get(everything, headers={"authorization": f"Bearer {shown}"}, timeout=240).status_code == 200
    )
    other = run(portico, "users", "token", email).strip()
    for path in ("owner:createToken", f"{email}:createToken"):
        headers = {"authorization": f"Bearer {other}"}
        answer = requests.post(f"{everything}/{path}", json={}, headers=headers, timeout=240)
        assert answer.status_code == 403
    assert token(portico, "owner")[0] == 400 and set_password(portico, "owner").status_code == 404


def test_the_command_reads_a_password(portico):
    email = f"person-{time.time_ns()}@example.com"
    run(portico, "users", "add", email)
    command = [
        sys.executable,
        "-m",
        "portico.cli.main",
        "users",
        "password",
        email,
        "--home",
        str(portico.home),
    ]

    def given(text: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], input=text, capture_output=True, text=True, timeout=240, check=False
        )

    assert given(f"{PASSWORD}\n").returncode == 0 and token(portico, email)[0] == 200
    assert "10 to 1000 characters" in given("short\n").stderr and given("\n").returncode == 1
    assert given("", "--none").returncode == 0 and token(portico, email)[0] == 400
    kept = requests.get(f"{portico.url}/apis/portico/v1/users/{email}", timeout=240).text
    assert "scrypt" not in kept and PASSWORD not in kept


def test_guessing_is_slowed_down_and_tells_nothing(portico, email):
    nobody = f"nobody-{time.time_ns()}@example.com"
    told = {token(portico, one, "wrong" * 3)[1] for one in (email, nobody)}
    assert told == {"The address or the password is wrong."}
    for _ in range(5):
        said = token(portico, email, "wrong" * 3)
    assert "Too many wrong passwords" in said[1]
    assert token(portico, email)[0] == 400  # the right one has to wait, too
    for form in ({"username": email}, {"password": PASSWORD}, {}):
        answer = requests.post(f"{portico.url}/-/token", {"grant_type": "password", **form}, timeout=240)
        assert answer.status_code == 400


def test_a_page_of_another_site_signs_nobody_in(portico, email):
    form = {"grant_type": "password", "username": email, "password": PASSWORD}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert requests.post(f"{portico.url}/-/token", form, headers=headers, timeout=240).status_code == 403
    browser = Browser(portico.url)
    browser.get("/sign-in")
    for options in ({"headers": {"origin": "https://evil.example"}}, {"headers": {"sec-fetch-site": "none"}}):
        assert browser.post("/sign-in", {**form, "csrf": browser.token}, **options).status_code == 403
    assert browser.post("/sign-in", {**form, "csrf": "0" * 64}).status_code == 403
    assert "portico-visitor" not in browser.session.cookies


def test_the_browsers_session(portico, email):
    page = "/projects/signing-in/locations/us-central1/models"
    browser = Browser(portico.url)
    browser.get("/sign-in")
    planted = browser.session.cookies["portico-console"]
    form = {"username": email, "password": PASSWORD, "to": f"/-/console{page}"}
    wrong = browser.post("/sign-in", {**form, "password": "wrong password"})
    assert wrong.status_code == 403 and "The address or the password is wrong." in wrong.text
    browser.get("/sign-in")
    there = browser.post("/sign-in", form, allow_redirects=False)
    assert (there.status_code, there.headers["location"]) == (303, f"/-/console{page}")
    for cookie in there.headers["set-cookie"].split(", portico"):
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    visitor = browser.session.cookies["portico-visitor"]
    assert (
        browser.session.cookies["portico-console"] != planted
    )  # a session that somebody else began ends here
    assert "Sign out" in browser.get(page).text
    refused = browser.get("/projects/other/locations/us-central1/models")
    assert refused.status_code == 403
    browser.get("/sign-in")
    assert browser.post("/sign-in", form).status_code == 200  # again: the session before ends
    stolen = Browser(portico.url)
    stolen.session.cookies.set("portico-visitor", visitor, path="/-/console")
    assert stolen.get(page).status_code == 401
    second = browser.session.cookies["portico-visitor"]
    browser.get(page)
    browser.post("/sign-out")
    stolen.session.cookies.set("portico-visitor", second, path="/-/console")
    assert stolen.get(page).status_code == 401  # a cookie that was copied is worth nothing after signing out
