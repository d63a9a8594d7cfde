"""An image's own web server in a replica: its command runs in this process, and where it would listen, its application
is called instead, for each request that comes by the replica's socket. Imported by `worker.py` alone.

uvicorn, gunicorn and what Flask and Werkzeug start are known: applications of ASGI and of WSGI.
https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import runpy
import shlex
import shutil
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Hear = Callable[[int, dict[bytes, bytes], bytes], None]

SCORE, RAW = 2, 3  # kinds of requests
MORE, END = 100, 200  # of a stream, as `frames.py` has them
_LONGEST = 2000  # characters of what the server says of an error
_PAUSE = 0.2  # seconds between questions for its health
_STATUS = {429: "RESOURCE_EXHAUSTED", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class Unserved(Exception):
    """The command serves nothing here, and why."""


def main(settings: dict[str, Any], server: Any, report: Any, listening: Any) -> None:
    """Runs the image's command until it serves, then answers until the replica is to end."""

    def tell(told: dict[str, Any]) -> None:
        if not report.closed:
            report.write(json.dumps(told) + "\n")
            report.close()

    def serve(application: Application) -> None:
        with application:
            application.wait_until_healthy(settings["health"])
            tell({"ready": True, "version": ""})
            asked = Answering(application, settings)
            server.Server(listening, asked.answer, settings["seconds"], asked.stream).run()

    os.chdir(settings["workdir"])
    try:
        replace_servers(serve)
        run(settings["command"])
        raise Unserved("its command ended without serving by uvicorn, gunicorn or Flask")
    except SystemExit as ended:
        tell({"error": f"its command ended with status {ended.code} before it served"})
    except MemoryError:
        tell({"error": "it ran out of memory, of which its machine type says how much it may use"})
    except BaseException as error:
        traceback.print_exc()
        tell({"error": f"{type(error).__name__}: {error}" if not isinstance(error, Unserved) else str(error)})


class Answering:
    """Frames of a replica's socket, asked of the application."""

    def __init__(self, application: Application, settings: dict[str, Any]) -> None:
        self.application = application
        self.route = settings["predict"]

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """A RAW request and its answer have the type of their content in the first line."""
        content = b"application/json"
        if kind == RAW:
            content, _, body = body.partition(b"\n")
        try:
            status, headers, told = self.application.ask("POST", self.route, content, body)
        except Exception as error:
            traceback.print_exc()
            status, told = refused(500, f"{type(error).__name__}: {error}")
            return status, b"application/json\n" + told if kind == RAW else told
        if kind == RAW:
            return status, headers.get(b"content-type", b"application/json") + b"\n" + told
        if status != 200:
            return refused(status, told.decode(errors="replace")[:_LONGEST] or "it says nothing")
        return predictions(told, kind)

    def stream(self, body: bytes, say: Callable[[int, bytes], None]) -> None:
        """Says the answer to a RAW request in pieces, as the application makes them."""
        content, _, body = body.partition(b"\n")
        began = gone = False

        def hear(status: int, headers: dict[bytes, bytes], piece: bytes) -> None:
            nonlocal began, gone
            try:
                if not began:
                    began = True
                    say(status, headers.get(b"content-type", b"application/json"))
                if piece:
                    say(MORE, piece)
            except OSError:
                gone = True
                raise

        try:
            self.application.ask("POST", self.route, content, body, hear)
        except Exception as error:
            if gone:
                return
            traceback.print_exc()
            if began:
                return  # the end that does not come tells it
            status, told = refused(500, f"{type(error).__name__}: {error}")
            say(status, b"application/json")
            say(MORE, told)
        with contextlib.suppress(OSError):
            say(END, b"")


def predictions(told: bytes, kind: int) -> tuple[int, bytes]:
    """Vertex AI's answer from a container's: `{"predictions": [...]}`."""
    try:
        answer = json.loads(told)
        found = answer["predictions"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, list):
        said = told.decode(errors="replace")[:200]
        return refused(400, f'the container must answer with {{"predictions": [...]}}; it answers {said}')
    shown: dict[str, Any] = {"predictions": found}
    if kind == SCORE:
        shown.update(scores=found, classes=None, names=None)
    elif answer.get("metadata") is not None:
        shown["metadata"] = answer["metadata"]
    return 200, json.dumps(shown).encode()


def refused(status: int, message: str) -> tuple[int, bytes]:
    """Google's error for one of the container's."""
    if status not in _STATUS:
        status = 400 if 400 <= status < 500 else 500
    name = _STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return status, json.dumps({"error": {"code": status, "message": message, "status": name}}).encode()


class Application:
    """An ASGI or WSGI application that is asked without a connection. Who `hear`s gets status, headers and a piece of
    the body when the application has it; then the body that is returned is empty."""

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def ask(
        self, method: str, path: str, content: bytes, body: bytes, hear: Hear | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers in small letters, and body."""
        raise NotImplementedError

    def wait_until_healthy(self, path: str) -> None:
        while True:
            status, _, told = self.ask("GET", path, b"", b"")
            if status == 200:
                return
            if status in (404, 405):
                raise Unserved(
                    f"its health route, GET {path}, answers {status}: {told[:200].decode(errors='replace')}"
                )
            self.pause()

    def pause(self) -> None:
        time.sleep(_PAUSE)


class Asgi(Application):
    """Its event loop runs while it is asked, and no longer."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.state: dict[str, Any] = {}
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.lifespan: asyncio.Task[None] | None = None

    def __enter__(self) -> Asgi:
        self.lifespan = self.loop.create_task(self._live())
        self.loop.run_until_complete(self._until("startup"))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and self.lifespan and not self.lifespan.done():
            self.told.put_nowait("shutdown")
            self.loop.run_until_complete(asyncio.wait([self.lifespan], timeout=5))

    async def _until(self, what: str) -> None:
        assert self.lifespan is not None
        self.told.put_nowait(what)
        self.started = asyncio.Event()
        waiting = asyncio.ensure_future(self.started.wait())
        await asyncio.wait([waiting, self.lifespan], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.lifespan.done() and not self.started.is_set() and self.failed is not None:
            raise self.failed

    failed: BaseException | None = None

    async def _live(self) -> None:
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            asked = True
            return {"type": f"lifespan.{await self.told.get()}"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.started.set()
            elif message["type"] == "lifespan.startup.failed":
                lines = str(message.get("message") or "it says not why").strip().splitlines()
                print("\n".join(lines), file=sys.stderr, flush=True)
                self.failed = self.failed or Unserved(f"its start fails: {lines[-1]}")

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, receive, send)
        except BaseException as error:  # an application may know no lifespan: then it asks for nothing
            if asked and self.failed is None:
                self.failed = error

    def ask(
        self, method: str, path: str, content: bytes, body: bytes, hear: Hear | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        return self.loop.run_until_complete(self._ask(method, path, content, body, hear))

    def pause(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(_PAUSE))

    async def _ask(
        self, method: str, path: str, content: bytes, body: bytes, hear: Hear | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        headers = [(b"host", b"localhost"), (b"accept", b"*/*")]
        if content:
            headers += [(b"content-type", content), (b"content-length", str(len(body)).encode())]
        route, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": route, "raw_path": route.encode(), "query_string": query.encode(),
            "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "state": dict(self.state),
        }  # fmt: skip
        waiting = [{"type": "http.request", "body": body, "more_body": False}]
        done = asyncio.Event()
        pieces: list[bytes] = []
        began: dict[str, Any] = {"status": 500, "headers": []}

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                began.update(message)
            elif message["type"] == "http.response.body":
                piece = bytes(message.get("body", b""))
                if hear is None:
                    pieces.append(piece)
                else:
                    hear(began["status"], headers_of(), piece)
                if not message.get("more_body"):
                    done.set()

        def headers_of() -> dict[bytes, bytes]:
            return {bytes(name).lower(): bytes(value) for name, value in began.get("headers", [])}

        try:
            await self.app(scope, receive, send)
        except Exception:
            if hear is None or not done.is_set():
                raise
            traceback.print_exc()  # the client has been told, and wholly
        return began["status"], headers_of(), b"".join(pieces)


class Wsgi(Application):
    def __init__(self, app: Any) -> None:
        self.app = app

    def ask(
        self, method: str, path: str, content: bytes, body: bytes, hear: Hear | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        route, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": route, "QUERY_STRING": query,
            "CONTENT_TYPE": content.decode("latin-1"), "CONTENT_LENGTH": str(len(body)), "SERVER_NAME": "localhost",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost",
            "HTTP_ACCEPT": "*/*", "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr, "wsgi.multithread": False, "wsgi.multiprocess": True, "wsgi.run_once": False,
        }  # fmt: skip
        began: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            told = {name.lower().encode(): value.encode("latin-1") for name, value in headers}
            began[:] = [int(status.split()[0]), told]
            return take

        def take(piece: bytes) -> None:
            if hear is None:
                pieces.append(piece)
            else:
                hear(began[0], began[1], piece)

        pieces: list[bytes] = []
        found = self.app(environ, start)
        try:
            for piece in found:
                take(piece)
            if hear is not None:
                take(b"")  # there may have been none
        finally:
            if hasattr(found, "close"):
                found.close()
        return began[0], began[1], b"".join(pieces)


def replace_servers(serve: Any) -> None:
    """Lets the servers that are installed hand their application over instead of listening."""
    for replace in (_replace_uvicorn, _replace_gunicorn, _replace_werkzeug):
        try:
            replace(serve)
        except ImportError:
            pass


def _replace_uvicorn(serve: Any) -> None:
    import uvicorn
    import uvicorn.main
    from uvicorn.importer import import_from_string

    def run(app: Any, **options: Any) -> None:
        if options.get("app_dir") is not None:
            sys.path.insert(0, options["app_dir"])
        app = import_from_string(app) if isinstance(app, str) else app
        app = app() if options.get("factory") else app
        kept = {name: options[name] for name in ("interface", "root_path", "env_file") if options.get(name)}
        config = uvicorn.Config(app, log_config=None, **kept)
        config.load()
        serve(Asgi(config.loaded_app))
        sys.exit(0)

    def run_server(self: Any, *_: Any, **__: Any) -> None:
        self.config.load()
        serve(Asgi(self.config.loaded_app))
        sys.exit(0)

    async def serve_server(self: Any, *_: Any, **__: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, run_server, self)

    servers: Any = sys.modules["uvicorn.main"]  # where the package has a command of that name
    servers.run = run
    package: Any = uvicorn
    package.run = run
    package.Server.run, package.Server.serve = run_server, serve_server


def _replace_gunicorn(serve: Any) -> None:
    import gunicorn.app.base

    def run(self: Any) -> None:
        app = self.wsgi()
        serve(Asgi(app) if "uvicorn" in self.cfg.worker_class_str else Wsgi(app))
        sys.exit(0)

    base: Any = gunicorn.app.base
    base.BaseApplication.run = base.Application.run = run


def _replace_werkzeug(serve: Any) -> None:
    import werkzeug
    import werkzeug.serving

    def run_simple(hostname: str, port: int, application: Any, *_: Any, **__: Any) -> None:
        serve(Wsgi(application))
        sys.exit(0)

    package: Any = werkzeug
    package.run_simple = package.serving.run_simple = run_simple


def run(words: list[str]) -> None:
    """Runs a command of Python's, or of one of its packages, in this interpreter."""
    words = list(words)
    if words[:2] in (["/bin/sh", "-c"], ["sh", "-c"], ["/bin/bash", "-c"], ["bash", "-c"]):
        words = shlex.split(os.path.expandvars(words[2]))
        if {"&&", "||", ";", "|"} & set(words):
            raise Unserved("its command is a shell's; give one that starts Python or its server alone")
    while words[:1] in (["exec"], ["env"]) or (words and "=" in words[0] and not words[0].startswith("-")):
        name, equals, value = words.pop(0).partition("=")
        if equals:
            os.environ[name] = value
    if not words:
        raise Unserved("its command is empty")
    sys.path[:] = [one for one in sys.path if one != os.path.dirname(os.path.abspath(__file__))]
    name, arguments = os.path.basename(words[0]), words[1:]
    if name.rstrip("0123456789.") == "python":
        _run_python(arguments)
        return
    path = shutil.which(words[0])
    if path is None:
        raise Unserved(f"its environment has no command {words[0]!r}: is it among the requirements?")
    with open(path, "rb") as script:
        if b"python" not in script.read(200):
            raise Unserved(f"its command {words[0]!r} is no Python program")
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def _run_python(arguments: list[str]) -> None:
    while arguments[:1] and arguments[0] in ("-u", "-B", "-O"):
        arguments = arguments[1:]
    if arguments[:1] == ["-m"] and arguments[1:]:
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[:1] == ["-c"] and arguments[1:]:
        sys.argv = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    elif arguments and not arguments[0].startswith("-"):
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        raise Unserved(f"its command, python {' '.join(arguments)}, starts no program")
