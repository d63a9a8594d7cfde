"""Identity: the key file, self-signed tokens, minted tokens, and what is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests


@pytest.fixture
def models_url(portico):
    return f"{portico.url}/v1/projects/p/locations/us-central1/models"


def get(url: str, token: str) -> requests.Response:
    return requests.get(url, headers={"authorization": f"Bearer {token}"}, timeout=240)


def test_the_key_file_is_what_google_auth_default_finds(portico):
    import google.auth

    credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    assert project == "portico"
    assert credentials.service_account_email.endswith(".iam.gserviceaccount.com")


def test_the_key_file_is_for_its_owner_alone(portico):
    assert (portico.home / "credentials.json").stat().st_mode & 0o077 == 0


def test_a_minted_token_is_accepted(portico, models_url):
    import google.auth
    import google.auth.transport.requests

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    credentials.refresh(google.auth.transport.requests.Request())
    assert get(models_url, credentials.token).status_code == 200


def test_a_self_signed_token_is_accepted(portico, models_url):
    assert get(models_url, sign(portico)).status_code == 200


def test_no_token_is_accepted_on_loopback(models_url):
    assert requests.get(models_url, timeout=240).status_code == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 3600},
        {"iss": "someone@else.iam.gserviceaccount.com"},
        {"exp": None},
    ],
)
def test_a_token_that_cannot_be_verified_is_refused(portico, models_url, claims):
    answer = get(models_url, sign(portico, **claims))
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


def test_a_token_signed_by_another_key_is_refused(portico, models_url):
    from cryptography.hazmat.primitives.asymmetric import rsa

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert get(models_url, sign(portico, key=other)).status_code == 401


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", ""])
def test_nonsense_is_refused_everywhere(portico, models_url, token):
    assert get(models_url, token).status_code == 401
    answer = requests.post(
        f"{portico.url}/v1/projects/p/locations/us-central1/endpoints/1:predict",
        json={"instances": [1]},
        headers={"authorization": f"Bearer {token}"},
        timeout=240,
    )
    assert answer.status_code == 401


def sign(portico: Any, key: Any = None, **claims: Any) -> str:
    import jwt

    account = json.loads((portico.home / "credentials.json").read_text())
    now = int(time.time())
    body = {"iss": account["client_email"], "sub": account["client_email"], "iat": now, "exp": now + 600,
            "aud": "https://aiplatform.googleapis.com/"} | claims  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(
        body, key or account["private_key"], algorithm="RS256", headers={"kid": account["private_key_id"]}
    )


def test_a_token_made_before_the_clock_went_back_is_accepted(portico, models_url):
    assert (
        get(models_url, sign(portico, iat=int(time.time()) + 1800, exp=int(time.time()) + 3600)).status_code
        == 200
    )
