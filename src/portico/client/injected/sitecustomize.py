"""Runs at the start of every Python under `portico exec`: arranges that Google's clients are pointed here.

It may run in an environment without Portico and in an older Python, so: standard library only, nothing
imported that the interpreter has not loaded already, and no work until one of the clients is imported.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is not imported: it would slow every start
if TYPE_CHECKING:
    from typing import Any

# Module -> the function that patches it once it is loaded.
_PATCHES = {
    "aiohttp.client": "portico_clients.patch_aiohttp",
    "google.api_core.exceptions": "portico_clients.patch_exceptions",
    "google.api_core.grpc_helpers": "portico_channels.patch_channels",
    "google.api_core.grpc_helpers_async": "portico_channels.patch_channels",
    "google.auth._default": "portico_credentials.patch_default",
    "google.auth.credentials": "portico_credentials.patch_credentials",
    "google.auth.transport.requests": "portico_clients.patch_requests",
    "google.cloud.pubsub_v1.publisher.client": "portico_channels.patch_pubsub",
    "google.cloud.pubsub_v1.subscriber.client": "portico_channels.patch_pubsub",
    "google.cloud.storage.client": "portico_clients.patch_storage",
    "google.protobuf.json_format": "portico_clients.patch_json_format",
    "httplib2": "portico_clients.patch_httplib2",
    "requests.sessions": "portico_clients.patch_sessions",
    "tensorflow": "portico_clients.patch_tensorflow",
    "google.cloud.aiplatform.docker_utils.run": "portico_clients.patch_docker_run",
    "google.cloud.aiplatform.docker_utils.utils": "portico_clients.patch_docker_utils",
    "google.cloud.aiplatform.pipeline_jobs": "portico_clients.patch_pipeline_jobs",
    "google.cloud.aiplatform.utils.yaml_utils": "portico_clients.patch_templates",
    "kfp.registry.registry_client": "portico_clients.patch_kfp_registry",
    "urllib.request": "portico_clients.patch_urllib",
}
_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _patch_name(module: str) -> str | None:
    # google.cloud.aiplatform_v1.services.model_service.client, google.pubsub_v1.services.publisher.client, …
    if module.startswith("google.") and ".services." in module and module.endswith(".client"):
        return "portico_clients.patch_service"
    if module.startswith("google_cloud_pipeline_components.container.") and module.endswith(
        ("_runner", "_util")
    ):
        return "portico_clients.patch_polling"
    return _PATCHES.get(module)


class _Finder:
    """Lets the others find a module, and patches it right after it has been executed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        patch = _patch_name(name)
        if patch is None:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                _patch_after(spec.loader, patch)
                return spec
        return None


def _patch_after(loader: Any, patch: str) -> None:
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module: Any) -> None:
        execute(module)
        try:
            ours, _, function = patch.partition(".")
            getattr(__import__(ours), function)(module)
        except Exception as error:
            print(
                f"portico exec: {module.__name__} is not pointed to Portico ({error!r})",
                file=sys.stderr,
            )

    try:
        loader.exec_module = exec_module
    except AttributeError:
        pass


def _forget_proxy() -> None:
    """What `portico_https` told the process that started this one."""
    before = os.environ.pop("PORTICO_PROXY_BEFORE", None)
    if before is not None:
        for name in ("https_proxy", "CURL_CA_BUNDLE", "GOOGLE_AUTH_TOKEN_FOR_TESTING"):
            os.environ.pop(name, None)
        if before:
            os.environ["https_proxy"] = before


def _run_next() -> None:
    """Runs the sitecustomize that this one hides, if there is one."""
    own = sys.modules.pop("sitecustomize")
    sys.path[:] = [entry for entry in sys.path if entry != _FOLDER]
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", own)
        sys.path.append(_FOLDER)  # last: it hides nothing, and the modules beside it are found


if os.environ.get("PORTICO_URL"):
    sys.meta_path.insert(0, _Finder())
    _forget_proxy()
_run_next()
