"""A small HTTP server that records what arrives and answers just enough for Google's clients to go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Recorded:
    port: int = 0
    requests: list[str] = field(default_factory=list)
    """ "METHOD path", without the query."""
    authorization: dict[str, str] = field(default_factory=dict)
    """The Authorization header of the first request of each kind."""


@contextmanager
def recorder() -> Iterator[Recorded]:
    recorded = Recorded()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.partition("?")[0]
            request = f"{self.command} {path}"
            recorded.requests.append(request)
            recorded.authorization.setdefault(request, self.headers.get("authorization") or "")
            body = json.dumps(_body(self.command, path)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield recorded
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _body(method: str, path: str) -> object:
    if path == "/-/token":
        return {"access_token": "minted", "expires_in": 3600, "token_type": "Bearer"}
    if path.startswith("/apis/cloudresourcemanager/v3/projects/"):
        return {"name": f"projects/{path.rpartition('/')[2]}", "projectId": path.rpartition("/")[2]}
    if method == "GET" and "/endpoints/" in path:
        name = path.split("/", 2)[2]
        dns = "7.us-central1-1.prediction.vertexai.goog"
        dedicated = {"dedicatedEndpointEnabled": True, "dedicatedEndpointDns": dns}
        return {"name": name, "displayName": "e", **(dedicated if name.endswith("/7") else {})}
    if method == "GET" and path == "/storage/v1/b":
        return {"kind": "storage#buckets", "items": []}
    if method == "GET" and path == "/storage/v1/b/b":
        return {"kind": "storage#bucket", "name": "b", "id": "b"}
    if path.endswith("edict"):
        return {"predictions": [1.5], "deployedModelId": "1", "model": "m"}
    return {}
