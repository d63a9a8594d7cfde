"""A plain HTTP client that sends exactly what it is told, with connections that it keeps."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection to the server at `url`. Not for threads."""

    def __init__(self, url: str, timeout: float = 240) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)

    def __call__(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Sends a request. A body that is no bytes is sent as JSON. `headers` may name another Host."""
        lines = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            lines = JSON | lines
        try:
            self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            if not any(name.lower() == "host" for name in lines):
                self._connection.putheader("Host", self.host)
            for name, value in lines.items():
                self._connection.putheader(name, value)
            if body is not None or method in ("POST", "PUT", "PATCH"):
                self._connection.putheader("Content-Length", str(len(body or b"")))
            self._connection.endheaders(body)
            answer = self._connection.getresponse()
            content = answer.read()
        except BaseException:
            self._connection.close()
            raise
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)

    def close(self) -> None:
        self._connection.close()
