"""Service accounts, their keys, and short-lived tokens, by Google's own clients."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import google.auth.transport.requests
import jwt
import pytest
import requests
from google.auth import exceptions, impersonated_credentials
from google.oauth2 import id_token, service_account
from googleapiclient import discovery
from googleapiclient.errors import HttpError

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
PROJECT = "accounts-project"
REQUEST = google.auth.transport.requests.Request()


@pytest.fixture
def iam(portico) -> Any:
    return client(portico, "iam", "v1")


def client(portico: Any, api: str, version: str) -> Any:
    """Google's discovery client, as the owner."""
    return discovery.build(
        api, version, static_discovery=True, client_options={"api_endpoint": f"{portico.url}/apis/{api}"}
    )


@pytest.fixture
def made(iam) -> Any:
    """Makes accounts of the project, each with an id of its own."""

    def make(beginning: str = "trainer") -> dict[str, Any]:
        body = {
            "accountId": f"{beginning}-{time.time_ns() % 10**12}",
            "serviceAccount": {"displayName": "Trains", "description": "for the tests"},
        }
        accounts = iam.projects().serviceAccounts()
        return dict(accounts.create(name=f"projects/{PROJECT}", body=body).execute())

    return make


def key_of(iam: Any, account: dict[str, Any]) -> dict[str, Any]:
    key = iam.projects().serviceAccounts().keys().create(name=account["name"], body={}).execute()
    return dict(json.loads(base64.b64decode(key["privateKeyData"])))


def get(portico: Any, token: str) -> requests.Response:
    url = f"{portico.url}/v1/projects/{PROJECT}/locations/us-central1/models"
    return requests.get(url, headers={"authorization": f"Bearer {token}"}, timeout=240)


def signed(key: dict[str, Any], **claims: Any) -> str:
    now = int(time.time())
    body = {"iss": key["client_email"], "sub": key["client_email"], "iat": now, "exp": now + 600} | claims
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key["private_key"], algorithm="RS256", headers={"kid": key["private_key_id"]})


def test_accounts_are_made_read_changed_and_listed(iam, made):
    account = made()
    accounts = iam.projects().serviceAccounts()
    assert account["email"].endswith(f"@{PROJECT}.iam.gserviceaccount.com")
    assert account["name"] == f"projects/{PROJECT}/serviceAccounts/{account['email']}"
    assert account["uniqueId"].isdigit() and account["displayName"] == "Trains"
    for name in (account["email"], account["uniqueId"]):
        assert accounts.get(name=f"projects/-/serviceAccounts/{name}").execute() == account
    patch = {"serviceAccount": {"displayName": "Learns"}, "updateMask": "displayName"}
    changed = accounts.patch(name=account["name"], body=patch).execute()
    assert (changed["displayName"], changed["description"]) == ("Learns", "for the tests")
    assert changed["etag"] != account["etag"]
    with pytest.raises(HttpError, match="was changed since it was read"):
        accounts.update(name=account["name"], body={"displayName": "x", "etag": account["etag"]}).execute()
    found, page = [], accounts.list(name=f"projects/{PROJECT}", pageSize=1)
    while page is not None:
        answer = page.execute()
        found += answer["accounts"]
        page = accounts.list_next(page, answer)
    assert changed in found
    with pytest.raises(HttpError, match="already exists"):
        body = {"accountId": account["email"].partition("@")[0]}
        accounts.create(name=f"projects/{PROJECT}", body=body).execute()


@pytest.mark.parametrize("wrong", ["short", "Trainer-1", "trainer-", "1-trainer", "t" * 31])
def test_ids_that_google_refuses_are_refused(iam, wrong):
    with pytest.raises(HttpError) as refused:
        body = {"accountId": wrong}
        iam.projects().serviceAccounts().create(name=f"projects/{PROJECT}", body=body).execute()
    assert refused.value.status_code == 400


def test_nobody_makes_the_owners_account_or_an_agents(iam):
    for project, chosen, code in (
        ("portico", "developer", 409),
        ("gcp-sa-aiplatform-cc", "service-some", 400),
    ):
        with pytest.raises(HttpError) as refused:
            body = {"accountId": chosen}
            iam.projects().serviceAccounts().create(name=f"projects/{project}", body=body).execute()
        assert refused.value.status_code == code


def test_a_key_file_is_all_that_google_auth_needs(portico, iam, made):
    account = made()
    key = key_of(iam, account)
    assert key["client_email"] == account["email"] and key["token_uri"] == f"{portico.url}/-/token"
    credentials = service_account.Credentials.from_service_account_info(key, scopes=SCOPES)
    credentials.refresh(REQUEST)
    assert get(portico, credentials.token).status_code != 401
    itself = credentials.with_always_use_jwt_access(True)
    itself.refresh(REQUEST)
    assert get(portico, itself.token).status_code != 401
    [held] = iam.projects().serviceAccounts().keys().list(name=account["name"]).execute()["keys"]
    assert held["name"].endswith(key["private_key_id"]) and held["keyType"] == "USER_MANAGED"
    assert "privateKeyData" not in held


def test_what_is_disabled_or_deleted_opens_nothing(portico, iam, made):
    account = made()
    accounts, keys = iam.projects().serviceAccounts(), iam.projects().serviceAccounts().keys()
    key = key_of(iam, account)
    credentials = service_account.Credentials.from_service_account_info(key, scopes=SCOPES)
    credentials.refresh(REQUEST)
    own = signed(key, aud="https://aiplatform.googleapis.com/")
    shown = (credentials.token, own)
    assert all(get(portico, one).status_code != 401 for one in shown)

    accounts.disable(name=account["name"], body={}).execute()
    assert accounts.get(name=account["name"]).execute()["disabled"]
    assert [get(portico, one).status_code for one in shown] == [401, 401]
    with pytest.raises(exceptions.RefreshError, match="invalid_grant"):
        credentials.refresh(REQUEST)
    accounts.enable(name=account["name"], body={}).execute()
    assert all(get(portico, one).status_code != 401 for one in shown)

    name = f"{account['name']}/keys/{key['private_key_id']}"
    keys.disable(name=name, body={}).execute()
    assert get(portico, own).status_code == 401  # what it signed itself; a token that was given stays good
    assert get(portico, credentials.token).status_code != 401
    keys.enable(name=name, body={}).execute()
    assert get(portico, own).status_code != 401
    keys.delete(name=name).execute()
    assert get(portico, own).status_code == 401
    with pytest.raises(exceptions.RefreshError, match="invalid_grant"):
        credentials.refresh(REQUEST)

    key = key_of(iam, account)
    accounts.delete(name=account["name"]).execute()
    assert (
        get(portico, shown[0]).status_code == 401 and get(portico, signed(key, scope="x")).status_code == 401
    )
    restored = accounts.undelete(
        name=f"projects/{PROJECT}/serviceAccounts/{account['uniqueId']}", body={}
    ).execute()["restoredAccount"]
    assert restored["uniqueId"] == account["uniqueId"]
    assert get(portico, shown[0]).status_code != 401
    assert get(portico, signed(key, scope="x")).status_code == 401  # its keys went with it


def test_who_has_a_policy_on_an_account(iam, made):
    accounts = iam.projects().serviceAccounts()
    account, other = made(), made()
    member = f"serviceAccount:{other['email']}"
    policy = accounts.getIamPolicy(resource=account["name"]).execute()
    policy["bindings"] = [{"role": "roles/iam.serviceAccountTokenCreator", "members": [member]}]
    accounts.setIamPolicy(resource=account["name"], body={"policy": policy}).execute()
    accounts.delete(name=other["name"]).execute()  # one that is made anew under its name gets nothing of it
    [binding] = accounts.getIamPolicy(resource=account["name"]).execute()["bindings"]
    assert binding["members"] == [f"deleted:{member}?uid={other['uniqueId']}"]
    accounts.undelete(name=f"projects/-/serviceAccounts/{other['uniqueId']}", body={}).execute()
    [binding] = accounts.getIamPolicy(resource=account["name"]).execute()["bindings"]
    assert binding["members"] == [member]


def impersonated(portico: Any, iam: Any, email: str, source: Any = None) -> Any:
    if source is None:
        source = service_account.Credentials.from_service_account_file(
            str(portico.home / "credentials.json"), scopes=SCOPES
        )
    return impersonated_credentials.Credentials(
        source, email, SCOPES, lifetime=600,
        iam_endpoint_override=f"{portico.url}/apis/iamcredentials/v1/projects/-/serviceAccounts/{email}:generateAccessToken",
    )  # fmt: skip


def test_impersonated_credentials_act_as_the_account(portico, iam, made):
    credentials = impersonated(portico, iam, made()["email"])
    credentials.refresh(REQUEST)
    assert get(portico, credentials.token).status_code != 401
    nobody = impersonated(portico, iam, f"nobody-1@{PROJECT}.iam.gserviceaccount.com")
    with pytest.raises(exceptions.RefreshError):
        nobody.refresh(REQUEST)
    owner = impersonated(portico, iam, "developer@portico.iam.gserviceaccount.com")
    with pytest.raises(exceptions.RefreshError):  # its token comes from its key file alone
        owner.refresh(REQUEST)


def test_what_is_signed_for_an_account_is_verified_with_its_public_key(portico, iam, made):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    account = made()
    accounts = client(portico, "iamcredentials", "v1").projects().serviceAccounts()
    payload = base64.b64encode(b"some bytes").decode()
    blob = accounts.signBlob(name=account["name"], body={"payload": payload}).execute()
    name = f"{account['name']}/keys/{blob['keyId']}"
    keys = iam.projects().serviceAccounts().keys()
    key = keys.get(name=name, publicKeyType="TYPE_X509_PEM_FILE").execute()
    assert key["keyType"] == "SYSTEM_MANAGED"
    certificate = x509.load_pem_x509_certificate(base64.b64decode(key["publicKeyData"]))
    public: Any = certificate.public_key()
    public.verify(base64.b64decode(blob["signedBlob"]), b"some bytes", padding.PKCS1v15(), hashes.SHA256())
    claims = {"sub": account["email"], "aud": "https://elsewhere.example", "n": 1}
    token = accounts.signJwt(name=account["name"], body={"payload": json.dumps(claims)}).execute()
    assert token["keyId"] == blob["keyId"]
    assert jwt.decode(token["signedJwt"], public, ["RS256"], audience=claims["aud"])["n"] == 1
    assert get(portico, token["signedJwt"]).status_code == 401


def test_the_older_methods_sign_the_same(portico, iam, made):
    account = made()
    accounts = iam.projects().serviceAccounts()
    blob = accounts.signBlob(name=account["name"], body={"bytesToSign": "eA=="}).execute()
    newer = client(portico, "iamcredentials", "v1").projects().serviceAccounts()
    again = newer.signBlob(name=account["name"], body={"payload": "eA=="}).execute()
    assert (blob["keyId"], blob["signature"]) == (again["keyId"], again["signedBlob"])
    token = accounts.signJwt(name=account["name"], body={"payload": '{"n": 1}'}).execute()
    assert jwt.decode(token["signedJwt"], options={"verify_signature": False})["n"] == 1
    with pytest.raises(HttpError, match="is not base64"):
        accounts.signBlob(name=account["name"], body={"bytesToSign": "?"}).execute()


def test_a_key_whose_public_part_was_uploaded(portico, iam, made):
    from portico.services.iam import rsa_keys

    account = made()
    keys = iam.projects().serviceAccounts().keys()
    own = rsa_keys.make(account["email"], time.time())

    def upload(certificate: bytes) -> dict[str, Any]:
        body = {"publicKeyData": base64.b64encode(certificate).decode()}
        return dict(keys.upload(name=account["name"], body=body).execute())

    key = upload(own.certificate.encode())
    assert (key["keyOrigin"], key["keyType"]) == ("USER_PROVIDED", "USER_MANAGED")
    file = {"client_email": account["email"], "private_key": own.private,
            "private_key_id": key["name"].rpartition("/")[2]}  # fmt: skip
    assert get(portico, signed(file, aud="https://aiplatform.googleapis.com/")).status_code == 403
    url = f"{portico.url}/-/token"
    credentials = service_account.Credentials.from_service_account_info(
        file | {"token_uri": url}, scopes=SCOPES
    )
    credentials.refresh(REQUEST)
    assert get(portico, credentials.token).status_code == 403
    keys.delete(name=key["name"]).execute()
    assert get(portico, signed(file, aud="https://aiplatform.googleapis.com/")).status_code == 401
    for wrong in (b"", b"x", own.private.encode(), certificate_of(bits=1024), certificate_of(days=-1)):
        with pytest.raises(HttpError) as refused:
            upload(wrong)
        assert refused.value.status_code == 400


def certificate_of(bits: int = 2048, days: int = 1) -> bytes:
    """A self-made certificate that runs out in so many days."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(2), now + timedelta(days))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_id_tokens_say_who_it_is_and_open_nothing_here(portico, iam, made):
    account = made()
    accounts = client(portico, "iamcredentials", "v1").projects().serviceAccounts()
    body = {"audience": "https://service.example", "includeEmail": True}
    token = accounts.generateIdToken(name=account["name"], body=body).execute()["token"]
    told = id_token.verify_token(token, REQUEST, body["audience"], certs_url=f"{portico.url}/-/certs")
    assert (told["email"], told["sub"]) == (account["email"], account["uniqueId"])
    assert get(portico, token).status_code == 401
    own = service_account.IDTokenCredentials.from_service_account_info(
        key_of(iam, account), target_audience="https://service.example"
    )
    own.refresh(REQUEST)
    told = id_token.verify_token(own.token, REQUEST, body["audience"], certs_url=f"{portico.url}/-/certs")
    assert told["sub"] == account["uniqueId"] and get(portico, own.token).status_code == 401


def test_forged_tokens_are_refused(portico, iam, made):
    account, other = made(), made()
    key, others = key_of(iam, account), key_of(iam, other)
    api = "https://aiplatform.googleapis.com/"
    assert get(portico, signed(key, aud=api)).status_code != 401
    now = int(time.time())
    claims = {"iss": account["email"], "sub": account["email"], "aud": api, "iat": now, "exp": now + 600}
    none = jwt.encode(claims, None, algorithm="none", headers={"kid": key["private_key_id"]})
    secret = jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"kid": key["private_key_id"]})
    head, body, signature = signed(key, aud=api).split(".")
    for token in (
        none, secret,
        signed(key, aud=api, exp=now - 60),
        signed(key, aud=api, exp=now + 100_000),
        signed(key, aud=api, exp=None),
        signed(key, aud="https://evil.example/"),
        signed(key, aud=[api, "https://evil.example/"]),
        signed(key, aud=f"{portico.url}/-/token"),  # an assertion, which is worth a token, is none
        signed(key, aud="https://oauth2.googleapis.com/token"),
        signed(key),
        signed(key, aud=api, sub=other["email"]),
        signed(key, aud=api, iss=other["email"], sub=other["email"]),
        signed(key, aud=api, iss="developer@portico.iam.gserviceaccount.com"),
        signed(key, iss="portico", sub="developer@portico.iam.gserviceaccount.com"),
        signed(key | {"private_key_id": others["private_key_id"]}, aud=api),
        signed(key | {"private_key_id": "../../x"}, aud=api),
        f"{head}.{signed(others, aud=api).split('.')[1]}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
    ):  # fmt: skip
        assert get(portico, token).status_code == 401, token


def test_what_an_account_signs_counts_for_the_api_that_it_names(portico, iam, made, bucket):
    key = key_of(iam, made())
    place = f"/v1/projects/{PROJECT}/locations/us-central1"
    asked = {
        "aiplatform": ("GET", f"{place}/models"), "prediction": ("POST", f"{place}/endpoints/1:predict"),
        "storage": ("GET", "/storage/v1/b?project=x"), "media": ("GET", f"/storage/v1/b/{bucket.name}/o/a?alt=media"),
        "portico": ("GET", "/apis/portico/v1/clock"),
    }  # fmt: skip

    def passed(**claims: Any) -> set[str]:
        headers = {"authorization": f"Bearer {signed(key, **claims)}", "content-type": "application/json"}
        found = {}
        for name, (verb, path) in asked.items():
            body = b'{"instances": [1]}' if verb == "POST" else None
            answer = requests.request(verb, portico.url + path, data=body, headers=headers, timeout=240)
            found[name] = answer.status_code
        assert set(found.values()) <= {401, 403}
        return {name for name, status in found.items() if status == 403}

    vertex, cloud_storage = {"aiplatform", "prediction"}, {"storage", "media"}
    assert passed(aud="https://aiplatform.googleapis.com/") == vertex
    assert passed(aud="https://us-central1-aiplatform.googleapis.com/") == vertex
    assert passed(aud="https://storage.googleapis.com/") == cloud_storage
    both = [f"https://{one}.googleapis.com/" for one in ("storage", "aiplatform")]
    assert passed(aud=both) == vertex | cloud_storage
    assert passed(aud="https://notstorage.googleapis.com/") == set()
    assert passed(aud=f"{portico.url}/") == set(asked) == passed(scope=SCOPES[0])
    assert passed(aud=f"http://127.0.0.1:{portico.port + 1}/") == set()  # another server's


def test_the_token_endpoint_takes_assertions_that_are_meant_for_it(portico, iam, made):
    account, other = made(), made()
    key = key_of(iam, account)
    url, now = f"{portico.url}/-/token", int(time.time())

    def asked(assertion: str, kind: str = "urn:ietf:params:oauth:grant-type:jwt-bearer") -> tuple[int, Any]:
        answer = requests.post(url, {"grant_type": kind, "assertion": assertion}, timeout=240)
        return answer.status_code, answer.json().get("error", "")

    good = signed(key, aud=url, scope=SCOPES[0])
    assert asked(good) == (200, "")
    access = requests.post(
        url, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": good}, timeout=240
    ).json()["access_token"]
    for assertion in (
        access,
        signed(key, aud="https://aiplatform.googleapis.com/"),
        signed(key, aud="https://evil.example/token"),
        signed(key),
        signed(key, aud=url, exp=now - 60),
        signed(key, aud=url, iss=other["email"], sub=other["email"]),
        "nonsense", "",
    ):  # fmt: skip
        assert asked(assertion) == (400, "invalid_grant")
    assert asked(signed(key, aud=url, sub=other["email"])) == (400, "unauthorized_client")
    assert asked(good, "client_credentials") == (400, "unsupported_grant_type")
