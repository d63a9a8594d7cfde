"""What `portico exec` changes in Google's clients, one function a module, applied right after its import.

Every change is a default or an address: the clients' own code does the work. Where another version of a client
lacks what is patched here, it is left as it is.
"""

from __future__ import annotations

import copy
import functools
import os
import time
from typing import Any

from portico_addresses import NETLOC, URL, is_vertex, local_endpoint, local_url, public_url
from portico_channels import BY_GRPC, by_grpc, finds_its_way, patch_pubsub
from portico_credentials import async_credentials
from portico_written import tell_written


def patch_service(module: Any) -> None:
    """The generated clients of Google's APIs: endpoint, and the transport that this server speaks."""
    if module.__name__.startswith("google.pubsub_v1."):
        patch_pubsub(module)
    for name, cls in list(vars(module).items()):
        if name.endswith("Client") and getattr(cls, "__module__", None) == module.__name__:
            cls.__init__ = _pointed_here(cls, cls.__init__)


def _pointed_here(cls: Any, init: Any) -> Any:
    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        transport = kwargs.get("transport")
        spoken = getattr(cls, "DEFAULT_ENDPOINT", None) in BY_GRPC
        if spoken and finds_its_way(cls.DEFAULT_ENDPOINT):
            init(self, *args, **kwargs)
            return
        if transport is None or isinstance(transport, (str, type)):
            default = getattr(cls, "DEFAULT_ENDPOINT", None) or "aiplatform.googleapis.com"
            kwargs["client_options"] = _options(kwargs.get("client_options"), default)
        if transport in (None, "grpc"):
            vertex = is_vertex(getattr(cls, "DEFAULT_ENDPOINT", None) or "aiplatform.googleapis.com")
            if (
                not spoken
                and "rest" in getattr(type(cls), "_transport_registry", {"rest": None})
                and (not vertex or _operations_by_rest())
            ):
                kwargs["transport"] = "rest"
            elif vertex:
                _use_rpc(cls, kwargs, "grpc")
            else:
                by_grpc(cls, kwargs["client_options"])
        elif transport == "grpc_asyncio":
            if "rest_asyncio" in getattr(type(cls), "_transport_registry", {}):
                _use_async_rest(kwargs)
            elif is_vertex(getattr(cls, "DEFAULT_ENDPOINT", None) or ""):
                _use_rpc(cls, kwargs, "grpc_asyncio")
            else:
                by_grpc(cls, kwargs["client_options"])
        init(self, *args, **kwargs)

    return __init__


@functools.lru_cache(None)
def _operations_by_rest() -> bool:
    """Whether this google-api-core asks for operations where Vertex AI's clients have them asked for."""
    try:
        from google.api_core.operations_v1.transports import rest
    except ImportError:
        return True
    import inspect

    return "path_prefix" in inspect.signature(rest.OperationsRestTransport.__init__).parameters


def _options(options: Any, default: str) -> Any:
    from google.api_core import client_options

    if isinstance(options, dict):
        made = client_options.from_dict(options)
    else:
        made = client_options.ClientOptions() if options is None else copy.copy(options)
    made.api_endpoint = local_endpoint(made.api_endpoint, default)
    return made


def _use_rpc(cls: Any, kwargs: dict[str, Any], transport: str) -> None:
    """The client's own gRPC transport, over a channel whose calls are requests of this server's."""
    import portico_rpc

    kwargs.pop("credentials", None)  # the channel shows them
    channel = portico_rpc.Channel if transport == "grpc" else portico_rpc.AsyncChannel
    kwargs["transport"] = cls.get_transport_class(transport)(host=NETLOC, channel=channel())


def _use_async_rest(kwargs: dict[str, Any]) -> None:
    """The async clients know REST only with aiohttp, and with credentials of another kind."""
    kwargs["transport"] = "rest_asyncio"
    kwargs["credentials"] = async_credentials()


def patch_exceptions(module: Any) -> None:
    """The generated clients speak gRPC to Google, and code catches what that raises: AlreadyExists, not the Conflict
    that is above it and all that REST's code tells; and reads its message, before which REST puts the request."""
    by_status: dict[str, Any] = {}
    for cls in vars(module).values():
        code = vars(cls).get("grpc_status_code") if isinstance(cls, type) else None
        if code:  # none where gRPC is not installed
            by_status[code.name] = cls
    usual = module.from_http_response

    @functools.wraps(usual)
    def from_http_response(response: Any) -> Any:
        error = usual(response)
        if "enum-encoding" in str(response.url):  # which they alone ask for
            try:
                told = response.json()["error"]
                named, message = by_status.get(told["status"], Exception), told["message"]
            except (ValueError, KeyError, TypeError):
                return error
            error.message = message
            error.args = (message,)
            if issubclass(named, type(error)):
                error.__class__ = named
        return error

    module.from_http_response = from_http_response


def patch_requests(module: Any) -> None:
    """Addresses that clients write out by themselves (`Endpoint.raw_predict`, dedicated endpoints)."""
    request = module.AuthorizedSession.request

    @functools.wraps(request)
    def moved(
        self: Any, method: str, url: str, data: Any = None, headers: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        here = local_url(url)
        if here.startswith(URL):
            headers = {**(headers or {}), "x-portico-exec": "1"}  # what this client can call
            tell_written(here, data, kwargs.get("json"))
        return request(self, method, here, data, headers, *args, **kwargs)

    module.AuthorizedSession.request = moved


def patch_sessions(module: Any) -> None:
    """`requests` itself, where code shows Google a token by its own hand (Google's pipeline components). What it asks
    without one, say a public file, it gets from where it is: from here, where its bucket is here."""
    session = module.Session
    request = session.request

    @functools.wraps(request)
    def moved(
        self: Any,
        method: str,
        url: Any,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        shown = any(name.lower() == "authorization" for name in (*self.headers, *(headers or ())))
        here = local_url(str(url)) if shown else public_url(str(url))
        if here != url:
            tell_written(here, data)
        return request(self, method, here, params, data, headers, *args, **kwargs)

    session.request = moved


def patch_aiohttp(module: Any) -> None:
    """aiohttp, where a client has Google's address built in: gcsfs before 2021, which `gcsfs==0.7.1` asks for."""
    session = module.ClientSession
    request = session._request

    @functools.wraps(request)
    async def moved(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        shown = any(
            name.lower() == "authorization" for name in (*self.headers, *(kwargs.get("headers") or ()))
        )
        here = local_url(str(url)) if shown else str(url)
        moved_url = url if here == str(url) else module.URL(here, encoded=True)
        return await request(self, method, moved_url, **kwargs)

    session._request = moved


def patch_urllib(module: Any) -> None:
    """`urlopen`, by which pandas, Keras and torchvision download: with a token it comes here, without one where the
    bucket is here."""
    usual = module.urlopen

    @functools.wraps(usual)
    def urlopen(url: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(url, module.Request):
            move = local_url if url.has_header("Authorization") else public_url
            url.full_url = move(url.full_url)
        else:
            url = public_url(url)
        return usual(url, *args, **kwargs)

    module.urlopen = urlopen


def patch_polling(module: Any) -> None:
    """Google's pipeline components look every twenty seconds whether a job has ended."""
    if getattr(module, "time", None) is time:
        module.time = _Patience()


class _Patience:
    """The module `time`, whose sleeps are short at first: about a twentieth of the time that has been waited."""

    def __init__(self) -> None:
        self._began = 0.0

    def sleep(self, seconds: float) -> None:
        self._began = self._began or time.monotonic()
        time.sleep(min(seconds, max(0.25, (time.monotonic() - self._began) / 20)))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def patch_httplib2(module: Any) -> None:
    """google-api-python-client (`googleapiclient.discovery.build`)."""
    request = module.Http.request

    @functools.wraps(request)
    def moved(self: Any, uri: str, *args: Any, **kwargs: Any) -> Any:
        return request(self, local_url(uri), *args, **kwargs)

    module.Http.request = moved


def patch_pipeline_jobs(module: Any) -> None:
    """A job's id has the second in which it is made; here two are submitted in one."""
    usual = module._get_current_time
    last: Any = []

    def later() -> Any:
        found = usual().replace(microsecond=0)
        if last:
            found = max(found, last.pop() + module.datetime.timedelta(seconds=1))
        last.append(found)
        return found

    module._get_current_time = later


def patch_storage(module: Any) -> None:
    """With STORAGE_EMULATOR_HOST the client would be anonymous and without a project."""
    client = module.Client
    init = client.__init__

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        anonymous = len(args) < 2 and kwargs.get("credentials") is None and kwargs.get("_http") is None
        if anonymous and kwargs.get("use_auth_w_custom_endpoint", True) and not kwargs.get("api_key"):
            import google.auth

            kwargs["credentials"], project = google.auth.default(scopes=client.SCOPE)
            if not args:
                kwargs.setdefault("project", project)
        init(self, *args, **kwargs)

    client.__init__ = __init__


def patch_json_format(module: Any) -> None:
    """protobuf 3 makes a class of its own for what an Any holds, such as what an operation by REST has made, though the
    client has one: messages in such messages are then none of the client's, and true where they are empty."""
    from google.protobuf import __version__ as version
    from google.protobuf import descriptor_pool as pools

    if not version.startswith("3."):
        return
    create = module._CreateMessageFromTypeUrl

    @functools.wraps(create)
    def _create(type_url: str, descriptor_pool: Any = None) -> Any:
        pool = descriptor_pool or pools.Default()
        try:
            found = pool.FindMessageTypeByName(type_url.rpartition("/")[2])
        except KeyError:
            return create(type_url, descriptor_pool)
        return found._concrete_class()

    module._CreateMessageFromTypeUrl = _create


def patch_tensorflow(module: Any) -> None:
    """TensorFlow's own gs:// (tf.io.gfile, tf.data, saved models, checkpoints, summaries)."""
    if "PORTICO_CERTIFICATE" in os.environ:
        import portico_https

        portico_https.serve_beside()


def patch_docker_run(module: Any) -> None:
    """A local endpoint of an image that Portico has (`LocalModel.deploy_to_local_endpoint`)."""
    run = module.run_prediction_container

    @functools.wraps(run)
    def run_prediction_container(serving_container_image_uri: str, *args: Any, **kwargs: Any) -> Any:
        import portico_docker
        import portico_local_endpoint

        here = portico_docker.exists(serving_container_image_uri)
        chosen = portico_local_endpoint.run_prediction_container if here else run
        return chosen(serving_container_image_uri, *args, **kwargs)

    module.run_prediction_container = run_prediction_container


def patch_docker_utils(module: Any) -> None:
    """Whether an image is on this machine."""
    check = module.check_image_exists_locally

    @functools.wraps(check)
    def check_image_exists_locally(image_name: str) -> bool:
        import portico_docker

        return portico_docker.exists(image_name) or bool(check(image_name))

    module.check_image_exists_locally = check_image_exists_locally


def patch_kfp_registry(module: Any) -> None:
    """kfp's client of registries of compiled pipelines: it has all addresses in its configuration."""
    load = module.RegistryClient._load_config

    @functools.wraps(load)
    def _load_config(self: Any, *args: Any, **kwargs: Any) -> Any:
        config = load(self, *args, **kwargs)
        return {key: local_url(value) if key.endswith("_url") else value for key, value in config.items()}

    module.RegistryClient._load_config = _load_config


def patch_templates(module: Any) -> None:
    """Compiled pipelines that the Vertex client downloads from a registry (`PipelineJob(template_path=…)`)."""
    load = module._load_yaml_from_https_uri

    @functools.wraps(load)
    def _load_yaml_from_https_uri(uri: str, *args: Any, **kwargs: Any) -> Any:
        return load(local_url(uri), *args, **kwargs)

    module._load_yaml_from_https_uri = _load_yaml_from_https_uri
