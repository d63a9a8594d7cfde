"""`portico exec` and libraries that speak HTTPS to Google's addresses in C++, as TensorFlow does for gs://.

A module of its name stands in for TensorFlow; what C code would find in the environment is used as curl uses it.
`test_tensorflow` has the real one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = """
import ctypes, os, socket, ssl, subprocess, sys, threading, urllib.request
before = dict(os.environ)
import tensorflow
assert dict(os.environ) == before  # Python's own clients go where they went

getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
proxy, trusted, token = (
    getenv(name).decode() for name in (b"https_proxy", b"CURL_CA_BUNDLE", b"GOOGLE_AUTH_TOKEN_FOR_TESTING"))
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"https": proxy}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=trusted)))

def asked(url, data=None, method=None, **headers):
    headers["Authorization"] = "Bearer " + token
    return opener.open(urllib.request.Request(url, data, headers, method=method), timeout=240)

from google.cloud import storage
storage.Client(project="p").create_bucket("https-files")
api = "https://www.googleapis.com"
session = asked(
    f"{api}/upload/storage/v1/b/https-files/o?uploadType=resumable&name=a/b.bin", b"", "POST").headers["Location"]
assert session.startswith(f"{api}/upload/storage/v1/b/https-files/o?"), session
body = os.urandom(300_000)
# As TensorFlow does it: in chunks, and with the length beside them.
headers = {"Transfer-Encoding": "chunked", "Content-Length": "300000", "Content-Range": "bytes 0-299999/300000"}
chunks = (b"%x\\r\\n%s\\r\\n" % (len(one), one) for one in (body[:9], body[9:], b""))
assert asked(session, chunks, "PUT", **headers).status == 200
assert asked("https://storage.googleapis.com/https-files/a%2Fb.bin").read() == body
assert asked(f"{api}/upload/storage/v1/b/https-files/o?uploadType=media&name=a/b.bin", body, "POST").status == 200
assert asked("https://storage.googleapis.com/https-files/a%2Fb.bin").read() == body
part = asked("https://storage.googleapis.com/https-files/a%2Fb.bin", Range="bytes=10-19")
assert part.status == 206 and part.read() == body[10:20]
assert b"a/b.bin" in asked(f"{api}/storage/v1/b/https-files/o?prefix=a/").read()
assert asked(f"{api}/storage/v1/b/https-files/o/a%2Fb.bin", method="DELETE").status == 204
try:
    asked("https://storage.googleapis.com/https-files/a%2Fb.bin")
    raise AssertionError("it is still there")
except urllib.error.HTTPError as error:
    assert error.code == 404, error.code

other = socket.create_server(("127.0.0.1", 0))  # any other host is reached as ever
def echo():
    connection, _ = other.accept()
    connection.sendall(connection.recv(100).upper())
    connection.close()
threading.Thread(target=echo).start()
host, port = proxy.rpartition("/")[2].split(":")
with socket.create_connection((host, int(port))) as tunnel:
    tunnel.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\\r\\n\\r\\n" % other.getsockname()[1])
    assert tunnel.recv(100).startswith(b"HTTP/1.1 200 ")
    tunnel.sendall(b"hello")
    assert tunnel.recv(100) == b"HELLO"

child = "import ctypes, os; assert 'CURL_CA_BUNDLE' not in os.environ; " \\
        "assert os.environ.get('https_proxy') is None; assert ctypes.CDLL(None).getenv(b'https_proxy') == 0"
subprocess.run([sys.executable, "-c", child], check=True)
print("done")
"""


def test_what_speaks_https_in_c_comes_here(portico: Any, tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("")
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.endswith("done\n"), done.stderr
    assert "portico exec:" not in done.stderr
