"""A company's people sign in with its OpenID provider, which runs here: and what does not let anybody in."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.console.test_console import Browser
from tests.doors.oidc_provider import Provider
from tests.services.iam.test_users import run

from portico.errors import InvalidArgument
from portico.services.iam import oidc

PAGE = "/projects/of-company/locations/us-central1/models"


@pytest.fixture(scope="module")
def provider(portico: Any, tmp_path_factory: Any) -> Iterator[Provider]:
    made = Provider()
    secret = tmp_path_factory.mktemp("company") / "secret"
    secret.write_text(made.secret)
    told = [
        "--client-id",
        made.client,
        "--secret-file",
        str(secret),
        "--domain",
        "company.example",
        "--name",
        "ACME",
    ]
    assert '"displayName": "ACME"' in run(portico, "users", "company", made.issuer, *told)
    assert made.secret not in run(portico, "users", "company")
    yield made
    run(portico, "users", "company", "--off")
    made.stop()


@pytest.fixture
def email(portico: Any, provider: Provider) -> str:
    """Of a user here who may look at a project, and whom the provider knows."""
    made = f"person-{time.time_ns()}@company.example"
    run(portico, "users", "add", made)
    policy = {"bindings": [{"role": "roles/viewer", "members": [f"user:{made}"]}]}
    url = f"{portico.url}/apis/cloudresourcemanager/v3/projects/of-company:setIamPolicy"
    assert requests.post(url, json={"policy": policy}, timeout=240).status_code == 200
    provider.person = {"sub": made, "email": made}
    provider.sign = provider.signed
    return made


class Person(Browser):
    """Somebody with a browser, who is led to the provider and back."""

    def sign_in(self, **changed: str) -> requests.Response:
        """With some parameters of the way back changed."""
        return self.back(self.there(), **changed)

    def there(self) -> str:
        assert "Sign in with ACME" in self.get("/sign-in").text
        led = self.get(f"/sign-in/company?to=/-/console{PAGE}", allow_redirects=False)
        answer = requests.get(led.headers["location"], allow_redirects=False, timeout=240)
        return answer.headers["location"]

    def back(self, address: str, **changed: str) -> requests.Response:
        parts = urlsplit(address)
        query = urlencode(dict(parse_qsl(parts.query)) | changed)
        # As a browser does that another site leads here.
        from_elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        return self.get(f"{parts.path.removeprefix('/-/console')}?{query}", headers=from_elsewhere)


def test_who_the_provider_knows_signs_in(portico, provider, email):
    person = Person(portico.url)
    answer = person.sign_in()
    assert answer.status_code == 200 and f"url=/-/console{PAGE}" in answer.text
    assert "Sign out" in person.get(PAGE).text and person.get(PAGE).status_code == 200
    assert person.get("/projects/other/locations/us-central1/models").status_code == 403
    assert "portico-company" not in person.session.cookies
    person.post("/sign-out")
    assert person.sign_in().status_code == 200


def test_the_way_back_is_of_this_browser_and_this_sign_in(portico, provider, email):
    person, other = Person(portico.url), Person(portico.url)
    address = person.there()
    assert other.back(address).status_code == 403  # nobody is signed in as who sends them a link
    other.there()
    assert other.back(address).status_code == 403
    assert person.back(address, state="x").status_code == 403
    assert person.back(address).status_code == 200
    assert person.back(address).status_code == 403  # replayed
    again = Person(portico.url)
    stolen = dict(parse_qsl(urlsplit(again.there()).query))["code"]
    mallory = Person(portico.url)
    assert mallory.sign_in(code=stolen).status_code == 403  # of another verifier, and another nonce
    assert mallory.sign_in(error="access_denied", error_description="<b>no</b>").status_code == 403
    assert "<b>no</b>" not in mallory.sign_in(error="access_denied", error_description="<b>no</b>").text
    assert "portico-visitor" not in mallory.session.cookies
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    for path in (PAGE, "/sign-in", "/sign-in/company"):
        assert person.get(path, headers=elsewhere).status_code == 403
    frame = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert person.get("/sign-in/callback?code=x&state=x", headers=frame).status_code == 403


def test_tokens_that_are_not_the_providers_let_nobody_in(portico, provider, email):
    forger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(provider.key.public_key())
    now = int(time.time())

    def refused() -> bool:
        person = Person(portico.url)
        return person.sign_in().status_code == 403 and "portico-visitor" not in person.session.cookies

    def changed(**claims: Any) -> Any:
        return lambda told: provider.signed(told | claims)

    for sign in (
        lambda told: provider.signed(told, key=forger),
        lambda told: jwt.encode(told, None, algorithm="none", headers={"kid": "1"}),
        lambda told: jwt.encode(told, public.encode(), algorithm="HS256", headers={"kid": "1"}),
        lambda told: provider.signed(told, kid="2"),
        lambda told: "nonsense",
        changed(aud="another"), changed(aud=[provider.client, "another"]), changed(azp="another"),
        changed(iss="https://evil.example"), changed(nonce="another"), changed(nonce=""),
        changed(exp=now - 600), changed(iat=now - 7200), changed(email_verified=False), changed(email=""),
        changed(email="someone@evil.example"), changed(email="nobody@company.example"), changed(sub="another one"),
    ):  # fmt: skip
        provider.sign = provider.signed
        assert Person(portico.url).sign_in().status_code == 200  # the user is this account's from now on
        provider.sign = sign
        assert refused(), sign
    provider.sign = provider.signed
    run(portico, "users", "disable", email)
    assert refused()


def test_each_address_on_the_way_is_looked_at(portico, provider):
    """What a provider says of itself is followed where it moves, and not into this machine, or where others listen."""
    url = f"{portico.url}/apis/portico/v1/oidc:set"
    told = {"clientId": provider.client, "clientSecret": provider.secret, "domains": ["company.example"]}

    def through(address: str) -> str:
        issuer = f"{provider.issuer}/to/{base64.urlsafe_b64encode(address.encode()).decode()}"
        answer = requests.post(url, json=told | {"issuer": issuer}, timeout=240)
        assert answer.status_code == 400
        return str(answer.json()["error"]["message"])

    assert "says that it is" in through(f"{provider.issuer}/.well-known/openid-configuration")
    for address in ("http://evil.example/x", "ftp://evil.example/x"):
        assert "is no https address" in through(address)
    with pytest.raises(InvalidArgument, match="on this machine"):
        oidc.check_address("http://127.0.0.1:1/x", led_by="https://company.example")
    with pytest.raises(InvalidArgument, match="on this machine"):
        oidc.check_address("https://localhost/x", led_by="https://company.example")
    oidc.check_address("https://login.company.example/x", led_by="https://company.example")


def test_who_is_new_becomes_a_user_where_that_was_said(portico, provider, email):
    new = f"new-{time.time_ns()}@company.example"
    provider.person = {"sub": new, "email": new}
    assert Person(portico.url).sign_in().status_code == 403
    url = f"{portico.url}/apis/portico/v1/oidc:set"
    told = {"issuer": provider.issuer, "clientId": provider.client, "clientSecret": provider.secret,
            "displayName": "ACME", "createUsers": True}  # fmt: skip
    assert requests.post(url, json=told, timeout=240).status_code == 400  # whoever the provider knows
    assert requests.post(url, json=told | {"domains": ["company.example"]}, timeout=240).status_code == 200
    person = Person(portico.url)
    assert person.sign_in().status_code == 200
    assert person.get(PAGE).status_code == 403  # a user, with no role
    assert new in run(portico, "users", "list")
    for wrong in ("http://evil.example", "https://127.0.0.1:1", "ftp://x", f"{provider.issuer}/other"):
        assert requests.post(url, json=told | {"issuer": wrong}, timeout=240).status_code in (400, 403, 503)
