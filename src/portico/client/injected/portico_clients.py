"""What `portico exec` changes in Google's clients, one function a module, applied right after its import.

Every change is a default or an address: the clients' own code does the work. Where another version of a client
lacks what is patched here, it is left as it is.
"""

from __future__ import annotations

import copy
import functools
import os
import re
import time
from typing import Any
from urllib.parse import urlsplit

URL = os.environ["PORTICO_URL"].rstrip("/")
_NETLOC = urlsplit(URL).netloc
# Where this server speaks gRPC, and the APIs that it knows by that alone.
_GRPC = os.environ.get("PORTICO_GRPC", "")
# Artifact Registry's repositories of compiled pipelines: us-central1-kfp.pkg.dev
_TEMPLATES = re.compile(r"([a-z0-9-]+)-kfp\.pkg\.dev")
_BY_GRPC = ("bigquerystorage.googleapis.com",)


def _is_vertex(host: str) -> bool:
    # us-central1-aiplatform.googleapis.com, aiplatform.eu.rep.googleapis.com, 1.us-east1-2.prediction.vertexai.goog
    labels = host.lower().split(".")
    if labels[-2:] == ["prediction", "localhost"]:  # Portico's own dedicated endpoints
        return True
    vertex = labels[-2:] == ["googleapis", "com"] and any(x.split("-")[-1] == "aiplatform" for x in labels)
    return vertex or labels[-3:] == ["prediction", "vertexai", "goog"]


def is_googles(host: str) -> bool:
    """Whether `host` has an API of Google's."""
    return _is_vertex(host) or _is_google(host.lower())


def _is_google(host: str) -> bool:
    return host == "googleapis.com" or host.endswith(".googleapis.com")


def _mount(host: str, path: str) -> str:
    """Where the API of Google's at `host` is here: at the root, where its paths collide with no other's, else
    below /apis/NAME, which answers 501 while it is not built (`portico.services.standard.apis`).
    """
    host = host.lower()
    if _is_vertex(host) or host == "storage.googleapis.com" or host.endswith(".storage.googleapis.com"):
        return ""
    name = host.split(".")[0].split("-")[-1]  # bigquery, us-documentai, bigquery.us-east4.rep, www
    if name == "www":
        name = path.lstrip("/").split("/")[0]
    at_root = name in ("bigquery", "storage", "upload", "download", "batch", "resumable")
    return "" if at_root else "/apis/" + name


def local_url(url: str) -> str:
    """`url`, moved to this server where it goes to an API of Google's."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.netloc == _NETLOC:
        return URL + url.split("://", 1)[1][len(parts.netloc) :]
    rest = url.split("://", 1)[-1]
    if found := _TEMPLATES.fullmatch(host):
        return f"{URL}/apis/artifactregistry/kfp/{found.group(1)}" + rest[len(parts.netloc) :]
    if _is_vertex(host) or _is_google(host):
        return URL + _mount(host, parts.path) + rest[len(parts.netloc) :]
    return url


def local_endpoint(endpoint: str | None, default: str = "aiplatform.googleapis.com") -> str:
    """The `api_endpoint` of a client of `default`, moved here unless it names some other server on purpose."""
    parts = urlsplit(endpoint if endpoint and "://" in endpoint else "https://" + (endpoint or default))
    host = parts.hostname or ""
    if parts.netloc == _NETLOC:
        return URL + parts.path
    return URL + _mount(host, "") if _is_vertex(host) or _is_google(host) else str(endpoint)


def patch_service(module: Any) -> None:
    """The generated clients of Google's APIs: endpoint, and the transport that this server speaks."""
    for name, cls in list(vars(module).items()):
        if name.endswith("Client") and getattr(cls, "__module__", None) == module.__name__:
            cls.__init__ = _pointed_here(cls, cls.__init__)


def _pointed_here(cls: Any, init: Any) -> Any:
    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        transport = kwargs.get("transport")
        if transport is None or isinstance(transport, (str, type)):
            default = getattr(cls, "DEFAULT_ENDPOINT", None) or "aiplatform.googleapis.com"
            kwargs["client_options"] = _options(kwargs.get("client_options"), default)
        if transport in (None, "grpc"):
            if "rest" in getattr(type(cls), "_transport_registry", {"rest": None}):
                kwargs["transport"] = "rest"
            else:
                _by_grpc(cls, kwargs["client_options"])
        elif transport == "grpc_asyncio":
            if "rest_asyncio" in getattr(type(cls), "_transport_registry", {}):
                _use_async_rest(kwargs)
            else:
                _by_grpc(cls, kwargs["client_options"])
        init(self, *args, **kwargs)

    return __init__


def _options(options: Any, default: str) -> Any:
    from google.api_core import client_options

    if isinstance(options, dict):
        made = client_options.from_dict(options)
    else:
        made = client_options.ClientOptions() if options is None else copy.copy(options)
    made.api_endpoint = local_endpoint(made.api_endpoint, default)
    return made


def _by_grpc(cls: Any, options: Any) -> None:
    """gRPC takes no scheme. Its channel is opened where this server speaks it (`patch_channels`), or fails here, where
    nothing answers it, and not elsewhere."""
    if options.api_endpoint.startswith(URL):
        default = getattr(cls, "DEFAULT_ENDPOINT", "")
        options.api_endpoint = default if default in _BY_GRPC else _NETLOC


def _use_async_rest(kwargs: dict[str, Any]) -> None:
    """The async clients know REST only with aiohttp, and with credentials of another kind."""
    kwargs["transport"] = "rest_asyncio"
    kwargs["credentials"] = _async_credentials()


def _async_credentials() -> Any:
    from google.auth import jwt
    from google.auth.aio import credentials

    jwt_credentials: Any = jwt.Credentials
    signer = _own_credentials() or jwt_credentials.from_service_account_file(
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
            _tell_written(here, data, kwargs.get("json"))
        return request(self, method, here, data, headers, *args, **kwargs)

    module.AuthorizedSession.request = moved


def _tell_written(url: str, *bodies: Any) -> None:
    """In a job: which objects the request names, so that what was written below /gcs is there when it is answered."""
    path = os.environ.get("PORTICO_WRITTEN")
    if not path:
        return
    import json
    import re
    import time
    import uuid
    from urllib.parse import parse_qs, unquote

    uris = []
    for body in bodies:
        text = body if isinstance(body, str) else json.dumps(body) if isinstance(body, dict) else ""
        if isinstance(body, bytes) and len(body) < 1 << 20:
            text = body.decode(errors="replace")
        uris += re.findall(r'gs://[^"\\\s]+', text)
    parts = urlsplit(url)
    found = re.match(r"(?:/download)?/storage/v1/b/([^/]+)/o(?:/(.*))?$", parts.path)
    if found:
        prefix = (parse_qs(parts.query).get("prefix") or [""])[0]
        uris.append(f"gs://{found[1]}/{unquote(found[2] or prefix)}")
    if not uris:
        return
    question = uuid.uuid4().hex
    line = json.dumps({"id": question, "uris": uris})
    if len(line) > 4000:  # more does not go through a pipe in one piece
        line = json.dumps({"id": question, "uris": sorted({uri[: uri.find("/", 5) + 1] for uri in uris})})
    answer = os.path.join(os.path.dirname(path), question + ".written")
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, line.encode() + b"\n")
        finally:
            os.close(pipe)
        until = time.monotonic() + 60
        while not os.path.exists(answer) and os.path.exists(path) and time.monotonic() < until:
            time.sleep(0.002)
        os.unlink(answer)
    except OSError:
        pass  # the job is at its end, or runs elsewhere: its files become objects then


def patch_sessions(module: Any) -> None:
    """`requests` itself, where code shows Google a token by its own hand (Google's pipeline components). What it asks
    without one, say a public file, it gets from where it is."""
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
        here = local_url(str(url)) if shown else url
        if here != url:
            _tell_written(here, data)
        return request(self, method, here, params, data, headers, *args, **kwargs)

    session.request = moved


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


def patch_channels(module: Any) -> None:
    """gRPC channels (`google.api_core.grpc_helpers`, and its asynchronous twin)."""
    create = module.create_channel

    @functools.wraps(create)
    def moved(target: str, *args: Any, **kwargs: Any) -> Any:
        host = target.rpartition(":")[0] or target
        if host in _BY_GRPC and _GRPC:
            return _channel(module, *args, **kwargs)
        return create(_NETLOC if _is_google(host) or _is_vertex(host) else target, *args, **kwargs)

    module.create_channel = moved


def _channel(module: Any, credentials: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A channel to this server, not encrypted; who opens an asynchronous one is known by its connection."""
    import grpc

    options = [*(kwargs.get("options") or ()), ("grpc.enable_http_proxy", 0)]
    if module.__name__.endswith("_async"):
        from grpc import aio

        return aio.insecure_channel(_GRPC, options, interceptors=kwargs.get("interceptors"))
    if credentials is None:
        import google.auth

        default: Any = google.auth.default
        credentials, _ = default(scopes=kwargs.get("scopes") or kwargs.get("default_scopes"))
    return grpc.intercept_channel(grpc.insecure_channel(_GRPC, options), _bearer(credentials))


def _bearer(credentials: Any) -> Any:
    """Shows `credentials` with every call, which gRPC itself only does where it is encrypted."""
    import grpc
    from google.auth.transport.requests import Request

    request = Request()

    def intercept(self: Any, continuation: Any, details: Any, given: Any) -> Any:
        headers: dict[str, str] = {}
        credentials.before_request(request, "POST", "https://bigquerystorage.googleapis.com/", headers)
        shown = [(name.lower(), value) for name, value in headers.items()]
        return continuation(_Details(details, [*(details.metadata or ()), *shown]), given)

    kinds = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
    bases = tuple(getattr(grpc, f"{kind}ClientInterceptor") for kind in kinds)
    names = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
    return type("Bearer", bases, {f"intercept_{name}": intercept for name in names})()


class _Details:
    """A call's details with other metadata."""

    def __init__(self, details: Any, metadata: Any) -> None:
        self._details = details
        self.metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._details, name)


def patch_httplib2(module: Any) -> None:
    """google-api-python-client (`googleapiclient.discovery.build`)."""
    request = module.Http.request

    @functools.wraps(request)
    def moved(self: Any, uri: str, *args: Any, **kwargs: Any) -> Any:
        return request(self, local_url(uri), *args, **kwargs)

    module.Http.request = moved


def patch_default(module: Any) -> None:
    """A job of the server's own shows its token; a model's server is known by its connection, and shows no key."""
    usual = module.default

    @functools.wraps(usual)
    def default(*args: Any, **kwargs: Any) -> Any:
        own = _own_credentials()  # a job may run in a process that had imported this before
        return usual(*args, **kwargs) if own is None else (own, os.environ.get("GOOGLE_CLOUD_PROJECT"))

    module.default = default


def _own_credentials() -> Any:
    """What code shows that this server runs; None for other code, and for what brings a key of its own."""
    if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
        return None
    if token := os.environ.get("PORTICO_JOB_TOKEN"):
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
        """The job's own token, which ends with the job."""

        def __init__(self) -> None:
            super().__init__()
            self.token = given

        @property
        def service_account_email(self) -> str:
            return os.environ.get("PORTICO_JOB_ACCOUNT", "")

        def refresh(self, request: Any) -> None:
            """There is no other; the server says why it does not take this one."""

    return JobCredentials()


def patch_credentials(module: Any) -> None:
    """A service account's "regional access boundary", which newer clients ask of iamcredentials.googleapis.com."""
    for cls in list(vars(module).values()):
        if "_maybe_start_regional_access_boundary_refresh" in getattr(cls, "__dict__", {}):
            cls._maybe_start_regional_access_boundary_refresh = lambda self, request, url: None


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
