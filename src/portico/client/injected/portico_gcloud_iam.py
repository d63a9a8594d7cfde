"""`gcloud iam service-accounts`: accounts, their keys and who may act as them, by this server's own service.

It runs in the caller's own Python, as `portico_gcloud_command` does.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from typing import TYPE_CHECKING

import portico_gcloud_asking as asking
import portico_gcloud_policies as policies
import portico_gcloud_shown as shown

if TYPE_CHECKING:
    from typing import Any

_API = "apis/iam/v1"
_ACCOUNT = re.compile(r".+@.+\..+|[0-9]+")
_MANAGED = {"any": "", "user": "?keyTypes=USER_MANAGED", "system": "?keyTypes=SYSTEM_MANAGED"}
_KEYS = {
    "KEY_ID": lambda one: one["name"].rpartition("/")[2],
    "CREATED_AT": lambda one: one.get("validAfterTime"),
    "EXPIRES_AT": lambda one: one.get("validBeforeTime"),
    "DISABLED": lambda one: one.get("disabled"),
    "DISABLE_REASON": lambda one: one.get("disableReason"),
    "EXTENDED_STATUS": lambda one: one.get("extendedStatus"),
}
_ACCOUNTS = {
    "DISPLAY NAME": lambda one: one.get("displayName"),
    "EMAIL": lambda one: one["email"],
    "DISABLED": lambda one: one["disabled"],
}


def _path(account: str, option: str = "SERVICE_ACCOUNT") -> str:
    if not _ACCOUNT.fullmatch(account):
        raise asking.Usage(
            f"argument {option}: Bad value [{account}]: Not a valid service account identifier. It should be either a "
            "numeric string representing the unique_id or an email of the form: my-iam-account@somedomain.com or "
            "my-iam-account@PROJECT_ID.iam.gserviceaccount.com"
        )
    return f"projects/-/serviceAccounts/{account}"


def _told(asked: asking.Asked) -> dict[str, str]:
    options = {"--display-name": "displayName", "--description": "description"}
    return {field: asked.options[option] for option, field in options.items() if option in asked.options}


def _create(asked: asking.Asked) -> int:
    body = {"accountId": asked.names[0], "serviceAccount": _told(asked)}
    try:
        made = asked.ask("POST", f"projects/{asked.project}/serviceAccounts", body, _API)
    except asking.Refused as error:
        if error.status != "ALREADY_EXISTS":
            raise
        raise ValueError(
            f"Resource in projects [{asked.project}] is the subject of a conflict: {error.message}"
        ) from None
    print(f"Created service account [{asked.names[0]}].", file=sys.stderr)
    shown.resource(made, asked.form or "none")
    return 0


def _list(asked: asking.Asked) -> int:
    found = asking.listed(asked.ask, f"projects/{asked.project}/serviceAccounts", "accounts", _API)
    shown.resources([{"disabled": False, **one} for one in found], asked.options, _ACCOUNTS)
    return 0


def _describe(asked: asking.Asked) -> int:
    shown.resource(asked.ask("GET", _path(asked.names[0]), None, _API), asked.form)
    return 0


def _update(asked: asking.Asked) -> int:
    told = _told(asked)
    if not told:
        raise asking.Usage("argument --display-name --description: at least one must be specified.")
    body = {"serviceAccount": told, "updateMask": ",".join(told)}
    made = asked.ask("PATCH", _path(asked.names[0]), body, _API)
    print(f"Updated serviceAccount [{asked.names[0]}].", file=sys.stderr)
    shown.resource(made, asked.form)
    return 0


def _delete(asked: asking.Asked) -> int:
    asked.ask("DELETE", _path(asked.names[0]), None, _API)
    print(f"deleted service account [{asked.names[0]}]", file=sys.stderr)
    return 0


def _enable(asked: asking.Asked) -> int:
    asked.ask("POST", f"{_path(asked.names[0])}:enable", {}, _API)
    print(f"Enabled service account [{asked.names[0]}].", file=sys.stderr)
    return 0


def _disable(asked: asking.Asked) -> int:
    asked.ask("POST", f"{_path(asked.names[0])}:disable", {}, _API)
    print(f"Disabled service account [{asked.names[0]}].", file=sys.stderr)
    return 0


def _undelete(asked: asking.Asked) -> int:
    shown.resource(asked.ask("POST", f"{_path(asked.names[0])}:undelete", {}, _API), asked.form)
    return 0


def _create_key(asked: asking.Asked) -> int:
    file, account = asked.names[0], asked.options["--iam-account"]
    if asked.options.get("--key-file-type", "json") != "json":
        raise asking.Usage("--key-file-type is json in Portico: key files in PKCS 12 are not built.")
    place = _path(account, "--iam-account")
    if file != "-" and not os.access(os.path.dirname(os.path.expanduser(file)) or ".", os.W_OK):
        raise ValueError(
            f"argument OUTPUT-FILE: [{file}] cannot be written."
        )  # else the key would be nowhere
    made = asked.ask("POST", f"{place}/keys", {}, _API)
    text = base64.b64decode(made["privateKeyData"])
    if file == "-":
        sys.stdout.write(text.decode())
    else:
        target = os.open(os.path.expanduser(file), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(target, "wb") as stream:
            os.fchmod(target, 0o600)
            stream.write(text)
    key = made["name"].rpartition("/")[2]
    print(f"created key [{key}] of type [json] as [{file}] for [{account}]", file=sys.stderr)
    return 0


def _list_keys(asked: asking.Asked) -> int:
    managed = asked.options.get("--managed-by", "any")
    if managed not in _MANAGED:
        raise asking.Usage(
            f"argument --managed-by: Invalid choice: '{managed}'. Valid choices are [any, system, user]."
        )
    place = _path(asked.options["--iam-account"], "--iam-account")
    found: dict[str, Any] = asked.ask("GET", f"{place}/keys{_MANAGED[managed]}", None, _API)
    shown.resources(found.get("keys", []), asked.options, _KEYS)
    return 0


def _delete_key(asked: asking.Asked) -> int:
    account, key = asked.options["--iam-account"], asked.names[0].rpartition("/")[2]
    asked.ask("DELETE", f"{_path(account, '--iam-account')}/keys/{key}", None, _API)
    print(f"deleted key [{key}] for service account [{account}]", file=sys.stderr)
    return 0


_NAME, _KEY, _OF = ("SERVICE_ACCOUNT",), ("KEY-ID",), ("--iam-account",)
_SAID = ("--display-name", "--description")
_ALL = {
    "create": asking.Command(_create, _SAID, ("NAME",)),
    "list": asking.Command(_list, asking.LISTED),
    "describe": asking.Command(_describe, (), _NAME),
    "update": asking.Command(_update, _SAID, _NAME),
    "delete": asking.Command(_delete, (), _NAME),
    "enable": asking.Command(_enable, (), _NAME),
    "disable": asking.Command(_disable, (), _NAME),
    "undelete": asking.Command(_undelete, (), ("ACCOUNT_ID",)),
    **policies.commands("serviceAccount", "SERVICE_ACCOUNT", _path, _API, body=False),
    "keys create": asking.Command(_create_key, ("--key-file-type",), ("OUTPUT-FILE",), _OF),
    "keys list": asking.Command(_list_keys, ("--managed-by", *asking.LISTED), (), _OF),
    "keys delete": asking.Command(_delete_key, (), _KEY, _OF),
}
COMMANDS = {f"service-accounts {verb}": command for verb, command in _ALL.items()}
