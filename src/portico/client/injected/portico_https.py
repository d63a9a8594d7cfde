"""Google's addresses by HTTPS, for a library that has them built in: TensorFlow reads and writes gs:// in C++.

What it takes from its environment is a proxy and whom to trust. So a process beside it is its proxy: for Google's hosts
it answers itself, with the certificate of the home, and passes each request on to this server; others it only connects.
It is no thread of that process, which may hold Python's lock while it waits for an answer, and it ends with it.

Standard library only, as in `sitecustomize`.
"""

from __future__ import annotations

import http.client
import http.server
import os
import signal
import socket
import ssl
import sys
import threading
from base64 import b64encode
from urllib.parse import unquote, urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TOKEN = "portico"  # what TensorFlow shows instead of asking for a token
_PIECE = 1 << 16
_PATIENCE = 60.0  # seconds to connect
# Of one connection, not of what it carries; and whose request it is, this server knows by the connection.
_OWN = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "host", "expect"}


def serve_beside() -> None:
    """Starts the process, and tells the libraries of this one, in C's environment; Python's own is left as it is."""
    import ctypes
    import subprocess

    before = os.environ.get("https_proxy", "")
    command = [sys.executable, "-S", "-E", os.path.abspath(__file__), before]
    beside = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert beside.stdout is not None
    port = int(beside.stdout.readline())
    globals()["_beside"] = beside  # its standard input stays open until this process ends
    told = {
        "https_proxy": f"http://127.0.0.1:{port}",
        "CURL_CA_BUNDLE": os.environ["PORTICO_CERTIFICATE"],
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": _TOKEN,
        "PORTICO_PROXY_BEFORE": before,  # for children, which `sitecustomize` lets forget it
    }
    setenv = ctypes.CDLL(None).setenv
    for name, value in told.items():
        setenv(name.encode(), value.encode(), 1)


class _Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Proxy(_Quiet):
    before = ""
    context: Any = None

    def do_CONNECT(self) -> None:
        import portico_addresses

        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        if not portico_addresses.is_googles(host):
            self._connect(host, int(port))
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self.context.wrap_socket(self.connection, server_side=True) as connection:
            type("Here", (_Here,), {"host": host})(connection, self.client_address, self.server)

    def _connect(self, host: str, port: int) -> None:
        proxy = urlsplit(self.before) if self.before else None
        to = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        try:
            far = socket.create_connection(to, _PATIENCE)
        except OSError as error:
            self.send_error(502, f"{to[0]} can't be reached: {error}")
            return
        with far:
            far.settimeout(None)
            if proxy:  # whose answer the client gets
                name = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
                shown = (
                    f"Proxy-Authorization: Basic {b64encode(name.encode()).decode()}\r\n"
                    if proxy.username
                    else ""
                )
                far.sendall(f"CONNECT {self.path} HTTP/1.1\r\nHost: {self.path}\r\n{shown}\r\n".encode())
            else:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()


class _Here(_Quiet):
    """A request to Google's `host`."""

    host = ""

    def _pass_on(self) -> None:
        import portico_addresses

        url = urlsplit(portico_addresses.local_url(f"https://{self.host}{self.path}"))
        here = http.client.HTTPConnection(url.hostname or "", url.port)
        path = url.path + (f"?{url.query}" if url.query else "")
        own = os.environ.get("PORTICO_JOB_TOKEN")
        here.putrequest(self.command, path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OWN and value != f"Bearer {_TOKEN}":
                here.putheader(name, value)
            elif value == f"Bearer {_TOKEN}" and own:
                here.putheader(name, f"Bearer {own}")
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        if chunked and length is None:
            here.putheader("Transfer-Encoding", "chunked")
        here.endheaders()
        for piece in self._chunks() if chunked else self._pieces(int(length or 0)):
            here.send(piece if length else b"%x\r\n%s\r\n" % (len(piece), piece))
        if chunked and length is None:
            here.send(b"0\r\n\r\n")
        answer = here.getresponse()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN:
                if value.startswith(portico_addresses.URL):  # where an upload goes on: here, too
                    value = f"https://{self.host}{value[len(portico_addresses.URL) :]}"
                self.send_header(
                    name.title(), value
                )  # TensorFlow knows "Location" in Google's spelling alone
        if answer.getheader("content-length") is None and answer.status not in (204, 304):
            self.send_header("Connection", "close")  # its end is the answer's; notes it, too
        self.end_headers()
        for piece in iter(lambda: answer.read(_PIECE), b""):
            self.wfile.write(piece)
        here.close()

    def _pieces(self, left: int) -> Any:
        while left:
            piece = self.rfile.read(min(_PIECE, left))
            if not piece:
                raise ConnectionError("the request ends early")
            yield piece
            left -= len(piece)

    def _chunks(self) -> Any:
        """TensorFlow sends what it uploads in chunks, and the length beside them."""
        while True:
            size = int(self.rfile.readline().partition(b";")[0], 16)
            yield from self._pieces(size)
            self.rfile.readline()
            if not size:
                return

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on


def _pump(source: Any, target: Any) -> None:
    try:
        for piece in iter(lambda: source.recv(_PIECE), b""):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away, or does not trust the certificate: it says so itself


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other
    _Proxy.before = sys.argv[1]
    _Proxy.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _Proxy.context.load_cert_chain(os.environ["PORTICO_CERTIFICATE"])
    server = _Server(("127.0.0.1", 0), _Proxy)
    print(server.server_address[1], flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
