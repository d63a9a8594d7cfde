"""`portico exec`: a script that makes a service account, its key, and impersonates it, not a word of Portico in it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_SCRIPT = """
import base64, json
import google.auth, google.auth.transport.requests
from google.auth import iam, impersonated_credentials
from google.cloud import storage
from google.oauth2 import service_account
from googleapiclient.discovery import build

scopes = ["https://www.googleapis.com/auth/cloud-platform"]
accounts = build("iam", "v1").projects().serviceAccounts()
account = accounts.create(name="projects/exec-accounts", body={"accountId": "exec-trainer"}).execute()
member = f"serviceAccount:{account['email']}"
bucket = storage.Client(project="exec-accounts").create_bucket("exec-accounts-bucket")
policy = bucket.get_iam_policy()
policy.bindings.append({"role": "roles/storage.objectAdmin", "members": {member}})
bucket.set_iam_policy(policy)

key = accounts.keys().create(name=account["name"], body={}).execute()
info = json.loads(base64.b64decode(key["privateKeyData"]))
own = service_account.Credentials.from_service_account_info(info, scopes=scopes)
storage.Client("exec-accounts", own).bucket(bucket.name).blob("a").upload_from_string("by its key")

source, _ = google.auth.default(scopes=scopes)
lent = impersonated_credentials.Credentials(source, account["email"], scopes)
blob = storage.Client("exec-accounts", lent).bucket(bucket.name).blob("a")
assert blob.download_as_text() == "by its key"
assert lent.sign_bytes(b"x")
signer = iam.Signer(google.auth.transport.requests.Request(), source, account["email"])
assert signer.sign(b"x") == lent.sign_bytes(b"x")
told = impersonated_credentials.IDTokenCredentials(lent, "https://service.example", include_email=True)
told.refresh(google.auth.transport.requests.Request())
assert told.token
print("done")
"""


def test_a_script_with_accounts_runs_unchanged(portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.endswith("done\n"), done.stderr
