"""iam.projects.serviceAccounts.keys. https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from portico.services.call import Call, implements
from portico.services.iam import account_keys, accounts, rsa_keys, tokens
from portico.services.iam.account_keys import KeyPrivate
from portico.services.standard.here import base_url
from portico.store import resources
from portico.store.resources import Resource

_MOST = 10  # keys of an account
_SKEW = 300  # seconds that the clock of who made a certificate may be ahead
_FILE = "TYPE_GOOGLE_CREDENTIALS_FILE"


@implements("iam", "projects.serviceAccounts.keys.create")
def create(call: Call) -> dict[str, Any]:
    """A key file for GOOGLE_APPLICATION_CREDENTIALS, which fetches its tokens here. It is nowhere else."""
    if call.body.get("privateKeyType", _FILE) not in (_FILE, "TYPE_UNSPECIFIED"):
        raise Unimplemented(
            "Key files in PKCS 12 are not built in Portico: ask for TYPE_GOOGLE_CREDENTIALS_FILE."
        )
    if call.body.get("keyAlgorithm") == "KEY_ALG_RSA_1024":
        raise InvalidArgument("Keys have 2048 bits: KEY_ALG_RSA_2048.", field="keyAlgorithm")
    with call.rooms.database.read() as connection:
        email = accounts.require(connection, call.name).body["email"]
    made = rsa_keys.make(email, call.rooms.clock.now())
    with call.rooms.database.write() as connection:
        account = _with_room(call, connection)
        key = account_keys.insert(connection, call.rooms, account, made, ours=False)
        accounts.changed(connection)
    file = _file(account, key, made.private, base_url(call.headers))
    return shown(key) | {
        "privateKeyType": _FILE,
        "privateKeyData": base64.b64encode(json.dumps(file, indent=2).encode()).decode(),
    }


@implements("iam", "projects.serviceAccounts.keys.upload")
def upload(call: Call) -> dict[str, Any]:
    """The public part of a key whose private part never was here."""
    try:
        told = rsa_keys.read_certificate(base64.b64decode(str(call.body.get("publicKeyData") or "")))
    except (ValueError, binascii.Error) as error:
        raise InvalidArgument(
            f"publicKeyData is no X.509 certificate of an RSA key, in PEM and then in base64: {error}.",
            field="publicKeyData",
        ) from None
    if told.bits not in (2048, 4096):
        raise InvalidArgument(
            f"The key has {told.bits} bits: 2048 or 4096 is asked for.", field="publicKeyData"
        )
    now = call.rooms.clock.now()
    if not told.begin - _SKEW <= now < told.end:
        raise InvalidArgument("The certificate is not valid now.", field="publicKeyData")
    with call.rooms.database.write() as connection:
        key = account_keys.insert(
            connection, call.rooms, _with_room(call, connection), rsa_keys.Made("", told.certificate), ours=False,
            keyOrigin="USER_PROVIDED", keyAlgorithm=f"KEY_ALG_RSA_{told.bits}",
            validAfterTime=tokens.stamp(told.begin), validBeforeTime=tokens.stamp(told.end),
        )  # fmt: skip
        accounts.changed(connection)
    return shown(key)


def _with_room(call: Call, connection: Connection) -> Resource:
    """The account, to which a key can be added.

    Raises:
        FailedPrecondition: it has as many as it may.
    """
    account = accounts.require(connection, call.name)
    own = [one for one in account_keys.of(connection, account.name) if one.body["keyType"] == "USER_MANAGED"]
    if len(own) >= _MOST:
        raise FailedPrecondition(
            f"{account.body['email']} has {_MOST} keys, as many as an account can have: delete one first."
        )
    return account


def _file(account: Resource, key: Resource, private: str, here: str) -> dict[str, str]:
    email = account.body["email"]
    return {
        "type": "service_account",
        "project_id": account.body["projectId"],
        "private_key_id": key.name.rpartition("/")[2],
        "private_key": private,
        "client_email": email,
        "client_id": account.body["uniqueId"],
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"{here}/-/token",
        "auth_provider_x509_cert_url": f"{here}/-/certs",
        "client_x509_cert_url": f"{here}/-/certs?account={quote(email)}",
        "universe_domain": "googleapis.com",
    }


@implements("iam", "projects.serviceAccounts.keys.list")
def listed(call: Call) -> dict[str, Any]:
    asked = call.params.get("keyTypes") or []
    wanted = {asked} if isinstance(asked, str) else set(asked)
    with call.rooms.database.read() as connection:
        found = account_keys.of(connection, accounts.require(connection, call.name).name)
    return {"keys": [shown(one) for one in found if not wanted or one.body["keyType"] in wanted]}


@implements("iam", "projects.serviceAccounts.keys.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        key = _required(call, connection)
    answer, kind = shown(key), call.params.get("publicKeyType")
    certificate = KeyPrivate.of(key).certificate
    if kind in ("TYPE_X509_PEM_FILE", "TYPE_RAW_PUBLIC_KEY"):
        text = certificate if kind == "TYPE_X509_PEM_FILE" else rsa_keys.public_pem(certificate)
        answer["publicKeyData"] = base64.b64encode(text.encode()).decode()
    return answer


@implements("iam", "projects.serviceAccounts.keys.delete")
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        key = _required(call, connection)
        if key.body["keyType"] == "SYSTEM_MANAGED":
            raise FailedPrecondition("A key that the server manages can't be deleted.")
        resources.delete(connection, key.name)
        accounts.changed(connection)
    return {}


@implements("iam", "projects.serviceAccounts.keys.disable", "projects.serviceAccounts.keys.enable")
def switch(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        key = _required(call, connection)
        for field in ("disabled", "disableReason"):
            key.body.pop(field, None)
        if call.method.endswith(".disable"):
            key.body |= {
                "disabled": True,
                "disableReason": "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED",
            }
        resources.update(connection, key, call.rooms.clock.now())
        accounts.changed(connection)
    return {}


def _required(call: Call, connection: Connection) -> Resource:
    name, _, key_id = call.name.rpartition("/keys/")
    account = accounts.require(connection, name)
    found = resources.get(connection, f"{account.name}/keys/{key_id}")
    if found is None or found.kind != account_keys.KIND:
        raise NotFound(f"Service account key {call.name} does not exist.")
    return found


def shown(key: Resource) -> dict[str, Any]:
    return {"name": key.name, "validAfterTime": tokens.stamp(key.create_time), **key.body}
