"""What acts as a service account for a while: tokens and signatures.

https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.call import Call, implements
from portico.services.iam import account_keys, accounts, rsa_keys, tokens
from portico.store.resources import Resource

_MOST_PAYLOAD = 1 << 20  # bytes


@implements("iamcredentials", "projects.serviceAccounts.generateAccessToken")
def generate_access_token(call: Call) -> dict[str, Any]:
    asked = str(call.body.get("lifetime") or "3600s")
    seconds = float(asked.removesuffix("s"))
    if not 1 <= seconds <= tokens.LONGEST:
        raise InvalidArgument(f"lifetime is {asked}: it is at most {tokens.LONGEST}s.", field="lifetime")
    account = _account(call)
    now = call.rooms.clock.now()
    token = tokens.access_token(call.rooms.home, account.body["email"], now, int(seconds))
    return {"accessToken": token, "expireTime": tokens.stamp(now + int(seconds))}


@implements("iamcredentials", "projects.serviceAccounts.generateIdToken")
def generate_id_token(call: Call) -> dict[str, Any]:
    account = _account(call)
    token = tokens.id_token(
        call.rooms.home, account.body["email"], account.body["uniqueId"], str(call.body["audience"]),
        call.rooms.clock.now(), with_email=bool(call.body.get("includeEmail")),
    )  # fmt: skip
    return {"token": token}


@implements("iamcredentials", "projects.serviceAccounts.signBlob")
@implements("iam", "projects.serviceAccounts.signBlob")
def sign_blob(call: Call) -> dict[str, Any]:
    """The API of before says otherwise what it signs, and its answer."""
    given, answered = ("bytesToSign", "signature") if call.api == "iam" else ("payload", "signedBlob")
    try:
        payload = base64.b64decode(str(call.body.get(given) or ""), validate=True)
    except binascii.Error:
        raise InvalidArgument(f"{given} is not base64.", field=given) from None
    if len(payload) > _MOST_PAYLOAD:
        raise InvalidArgument(f"{given} is longer than {_MOST_PAYLOAD} bytes.", field=given)
    key_id, private = account_keys.signing(call.rooms, _account(call))
    return {"keyId": key_id, answered: base64.b64encode(rsa_keys.sign(private, payload)).decode()}


@implements("iamcredentials", "projects.serviceAccounts.signJwt")
@implements("iam", "projects.serviceAccounts.signJwt")
def sign_jwt(call: Call) -> dict[str, Any]:
    try:
        claims = json.loads(str(call.body.get("payload") or ""))
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise InvalidArgument("payload is no JSON object: the claims of the JWT.", field="payload")
    now = call.rooms.clock.now()
    end = claims.get("exp")
    if end is not None and not (isinstance(end, (int, float)) and end <= now + 12 * tokens.LONGEST):
        raise InvalidArgument(
            "The claim exp is a time in seconds, at most twelve hours from now.", field="payload"
        )
    claims.setdefault("exp", int(now) + tokens.LONGEST)
    key_id, private = account_keys.signing(call.rooms, _account(call))
    return {"keyId": key_id, "signedJwt": rsa_keys.sign_jwt(private, key_id, claims)}


def _account(call: Call) -> Resource:
    """
    Raises:
        NotFound: there is none. FailedPrecondition: it is disabled.
    """
    with call.rooms.database.read() as connection:
        found = accounts.require(connection, call.name)
    if found.body.get("disabled"):
        raise FailedPrecondition(f"Service account {found.body['email']} is disabled.")
    return found
