"""What clients show this server of who they are."""

from __future__ import annotations

import functools
import os
from typing import Any


def async_credentials() -> Any:
    from google.auth import jwt
    from google.auth.aio import credentials

    jwt_credentials: Any = jwt.Credentials
    signer = own_credentials() or jwt_credentials.from_service_account_file(
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"], audience="https://aiplatform.googleapis.com/"
    )

    class SelfSigned(credentials.Credentials):
        """Tokens that are signed here with the key file, or a job's own: nothing is asked over the network."""

        async def refresh(self, request: Any) -> None:
            signer.refresh(None)

        async def before_request(self, request: Any, method: str, url: str, headers: Any) -> None:
            signer.before_request(None, method, url, headers)

    made: Any = SelfSigned
    return made()


def patch_default(module: Any) -> None:
    """A job of the server's own shows its token, and so does a model's own server."""
    usual = module.default

    @functools.wraps(usual)
    def default(*args: Any, **kwargs: Any) -> Any:
        own = own_credentials()  # a job may run in a process that had imported this before
        return usual(*args, **kwargs) if own is None else (own, os.environ.get("GOOGLE_CLOUD_PROJECT"))

    module.default = default


def own_credentials() -> Any:
    """What code shows that this server runs; None for other code, and for what brings a key of its own."""
    if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
        return None
    token = os.environ.get("PORTICO_JOB_TOKEN")
    if token:
        return _of_job(token)
    if os.environ.get("CLOUD_ML_JOB_ID") or os.environ.get("AIP_MODE"):
        from google.auth import credentials

        anonymous: Any = credentials.AnonymousCredentials
        return anonymous()
    return None


def _of_job(given: str) -> Any:
    from google.auth import credentials

    base: Any = credentials.Credentials

    class JobCredentials(base):  # type: ignore[misc]
        """The job's own token, which ends with the job. They begin without it, as Google's do: gcsfs before 2021 shows
        what it got by refreshing them."""

        @property
        def service_account_email(self) -> str:
            return os.environ.get("PORTICO_JOB_ACCOUNT", "")

        def refresh(self, request: Any) -> None:
            """There is but one; the server says why it does not take it."""
            self.token = given

    return JobCredentials()


def patch_credentials(module: Any) -> None:
    """A service account's "regional access boundary", which newer clients ask of iamcredentials.googleapis.com."""
    for cls in list(vars(module).values()):
        if "_maybe_start_regional_access_boundary_refresh" in getattr(cls, "__dict__", {}):
            cls._maybe_start_regional_access_boundary_refresh = lambda self, request, url: None
