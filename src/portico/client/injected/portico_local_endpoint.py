"""`LocalModel.deploy_to_local_endpoint` under `portico exec`: Portico serves the image instead of Docker, and a port of
this machine passes on what is asked. It runs in the user's own Python.
"""

from __future__ import annotations

import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BUCKET = "portico-images"
_NOT_PASSED_ON = ("transfer-encoding", "content-length", "connection", "date", "server", "content-encoding")


class Container:
    """What the client asks of a container of Docker's: a model that is deployed for as long as this is there."""

    status = "running"

    def __init__(
        self, image: str, artifact_uri: str, routes: tuple[str, str], spec: Any, port: int, host_port: int
    ):
        from google.cloud import aiplatform

        predict, health = routes
        name = "local-" + uuid.uuid4().hex[:12]
        if artifact_uri and not artifact_uri.startswith("gs://"):
            artifact_uri = _uploaded(artifact_uri, name)
        self._model = aiplatform.Model.upload(
            display_name=name, artifact_uri=artifact_uri or None, serving_container_image_uri=image,
            serving_container_predict_route=predict, serving_container_health_route=health,
            serving_container_ports=[port], **spec,
        )  # fmt: skip
        self._endpoint: Any = None
        try:
            self._endpoint = aiplatform.Endpoint.create(display_name=name)
            self._model.deploy(self._endpoint)
            self._server = ThreadingHTTPServer(
                ("127.0.0.1", host_port), _handler(self._endpoint, predict, health)
            )
        except BaseException:
            self.stop()
            raise
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.ports = {f"{port}/tcp": [{"HostPort": str(self._server.server_port)}]}

    def reload(self) -> None:
        """Nothing changes."""

    def logs(self) -> bytes:
        return f"Portico serves it; its log: portico logs {self._endpoint.resource_name}".encode()

    def stop(self) -> None:
        self.status = "exited"
        server = vars(self).pop("_server", None)
        if server is not None:
            server.shutdown()
            server.server_close()
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.delete(force=True)
        model, self._model = self._model, None
        if model is not None:
            model.delete()


def run_prediction_container(
    serving_container_image_uri: str,
    artifact_uri: Any = None,
    serving_container_predict_route: Any = None,
    serving_container_health_route: Any = None,
    serving_container_command: Any = None,
    serving_container_args: Any = None,
    serving_container_environment_variables: Any = None,
    serving_container_ports: Any = None,
    credential_path: Any = None,
    host_port: Any = None,
    **_: Any,
) -> Container:
    """As `google.cloud.aiplatform.docker_utils.run.run_prediction_container`."""
    if (
        artifact_uri
        and not artifact_uri.startswith("gs://")
        and not os.path.isdir(os.path.expanduser(artifact_uri))
    ):
        raise ValueError(
            f"artifact_uri should be a gs:// URI or a local directory; {artifact_uri} is neither."
        )
    spec = {
        "serving_container_command": list(serving_container_command or []) or None,
        "serving_container_args": list(serving_container_args or []) or None,
        "serving_container_environment_variables": dict(serving_container_environment_variables or {})
        or None,
    }
    routes = (serving_container_predict_route or "/predict", serving_container_health_route or "/health")
    port = int((serving_container_ports or [8080])[0])
    return Container(serving_container_image_uri, artifact_uri or "", routes, spec, port, int(host_port or 0))


def _uploaded(folder: str, name: str) -> str:
    """The folder's files as objects; where they are."""
    from google.cloud import storage  # type: ignore[attr-defined]

    folder = os.path.expanduser(folder)
    bucket = storage.Client().bucket(_BUCKET)
    for below, _, files in os.walk(folder):
        for file in files:
            path = os.path.join(below, file)
            inside = os.path.relpath(path, folder).replace(os.sep, "/")
            bucket.blob(f"{name}/{inside}").upload_from_filename(path)
    return f"gs://{_BUCKET}/{name}"


def _handler(endpoint: Any, predict: str, health: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self.path == health else 404, b"{}", {"content-type": "application/json"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path != predict:
                self._answer(404, b"{}", {"content-type": "application/json"})
                return
            # The container sees a request without a type as such, and refuses it or not.
            told = endpoint.raw_predict(body, {"content-type": self.headers.get("content-type") or ""})
            kept = {name: value for name, value in told.headers.items() if name.lower() not in _NOT_PASSED_ON}
            self._answer(told.status_code, told.content, kept)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """What is asked is no news."""

    return Handler
