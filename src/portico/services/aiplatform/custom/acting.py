"""As whom a job's code reaches objects without asking the API: below `/gcs` it sees and changes what its service
account may."""

from __future__ import annotations

import json
import re
from typing import Final, Literal

from portico.errors import PermissionDenied
from portico.jobs.worker import Context
from portico.services.iam import accounts, targets
from portico.services.iam.bindings import acting
from portico.services.iam.decide import Permissions

_BUCKET: Final = re.compile(r"gs://(?!google-cloud-aiplatform/schema/)([a-z0-9][\w.-]*)")


class Acting:
    """`account` for the work of the resource `name`."""

    def __init__(self, context: Context, account: str, name: str) -> None:
        self.account = account
        with context.database.read() as connection:
            state = accounts.state(connection, account)
        self._caller = acting(account, name, state)
        self._permissions = Permissions(context.home, context.database, context.clock)

    def may(self, verb: Literal["get", "create", "delete"], bucket: str) -> bool:
        """Whether it may do that with the objects of a bucket."""
        asked = [f"storage.objects.{verb}"]
        return self._caller is not None and bool(
            self._permissions.held(self._caller, asked, targets.bucket(bucket))
        )

    def require(self, told: object) -> None:
        """Before what is done for the code is done here.

        Raises:
            PermissionDenied: `told`, any JSON, names a bucket whose objects it may not read.
        """
        for bucket in sorted(set(_BUCKET.findall(json.dumps(told)))):
            if not self.may("get", bucket):
                raise PermissionDenied(
                    f"{self.account} does not have storage.objects.get access to gs://{bucket} (or it may not exist)."
                )
