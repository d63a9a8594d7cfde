"""Without a token only the user who runs Portico is answered; a home is that user's alone."""

from __future__ import annotations

import encodings.idna  # noqa: F401  the other user can't read where Python lies: what it needs is imported before
import http.client
import json
import os
import pickle
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doors.test_identity import sign
from tests.waiting import until

from portico import Client
from portico.errors import Unauthenticated

STRANGER = 65534
MODELS = "/v1/projects/p/locations/us-central1/models"
BEFORE = {"cache", "credentials.json", "objects", "portico.db", "run", "spool", "warehouse"}
AS_JSON = {"content-type": "application/json"}
PREDICT = "/v1/projects/p/locations/us-central1/endpoints/1:predict"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_stranger(work: Callable[[], Any]) -> Any:
    """What `work` returns in a child that another user runs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            try:
                found: Any = work()
            except Exception as error:
                found = error
            os.write(writer, pickle.dumps(found))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        found = pickle.load(file)
    os.waitpid(child, 0)
    if isinstance(found, Exception):
        raise found
    return found


def ask(
    port: int, verb: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None,
    host: str = "127.0.0.1",
) -> tuple[int, str, str]:  # fmt: skip
    """Status, content type and text."""
    connection = http.client.HTTPConnection(host, port, timeout=240)
    connection.request(verb, path, body, {"host": "127.0.0.1"} | (headers or {}))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.getheader("content-type") or "", text


@as_root
def test_another_user_needs_a_token_at_every_door(portico, bucket):
    bucket.blob("secret.txt").upload_from_string("secret")
    name, batch = (
        bucket.name,
        b"--b\r\nContent-Type: application/http\r\n\r\nGET /storage/v1/b HTTP/1.1\r\n\r\n--b--\r\n",
    )
    doors = [
        ("GET", MODELS, None, {}),
        ("POST", f"{MODELS}:upload", b"{}", AS_JSON),
        ("POST", PREDICT, b'{"instances": [1]}', AS_JSON),
        ("POST", PREDICT.replace(":predict", ":rawPredict"), b"1", AS_JSON),
        ("GET", "/apis/portico/v1/clock", None, {}),
        ("GET", "/-/metrics", None, {}),
        ("GET", f"/storage/v1/b/{name}/o/secret.txt", None, {}),
        ("GET", f"/storage/v1/b/{name}/o/secret.txt?alt=media", None, {}),
        ("GET", f"/download/storage/v1/b/{name}/o/secret.txt?alt=media", None, {}),
        ("DELETE", f"/storage/v1/b/{name}/o/secret.txt", None, {}),
        ("POST", f"/upload/storage/v1/b/{name}/o?uploadType=media&name=new", b"x", {}),
        ("POST", f"/upload/storage/v1/b/{name}/o?uploadType=resumable&name=new", b"{}", AS_JSON),
        ("POST", "/batch/storage/v1", batch, {"content-type": "multipart/mixed; boundary=b"}),
    ]
    xml = [("GET", f"/{name}/secret.txt", None, {}), ("PUT", f"/{name}/new", b"x", {})]
    found = as_stranger(lambda: [ask(portico.port, *door) for door in [*doors, *xml]])
    for door, (status, media, text) in zip([*doors, *xml], found, strict=True):
        assert status == (403 if door in xml else 401), (door, status, text)
        assert "portico env" in text, door
        if door in xml:
            assert media.startswith("application/xml") and "<Code>AccessDenied</Code>" in text
            assert "Anonymous caller does not have storage.objects." in text
        else:
            error = json.loads(text)["error"]
            assert error["code"] == 401 and (error.get("status") == "UNAUTHENTICATED" or error["errors"])
    assert bucket.get_blob("secret.txt").download_as_bytes() == b"secret"
    assert bucket.get_blob("new") is None
    assert as_stranger(lambda: ask(portico.port, "GET", "/-/healthz"))[0] == 200


@as_root
def test_another_user_with_a_token_is_answered(portico):
    token = {"authorization": f"Bearer {sign(portico)}"}
    assert as_stranger(lambda: ask(portico.port, "GET", MODELS, None, token))[0] == 200
    assert (
        as_stranger(lambda: ask(portico.port, "GET", MODELS, None, {"authorization": "Bearer no"}))[0] == 401
    )
    json_token = {"content-type": "application/json"} | token
    assert (
        as_stranger(lambda: ask(portico.port, "POST", PREDICT, b'{"instances": [1]}', json_token))[0] == 404
    )


def test_whose_a_connection_is_goes_with_it_from_front_to_control_and_back(portico):
    def both() -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", portico.port, timeout=240)
        found = []
        for _ in range(2):
            for verb, path, body in (("POST", PREDICT, b'{"instances": [1]}'), ("GET", MODELS, None)):
                connection.request(verb, path, body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                found.append(answer.status)
        return found

    assert both() == [404, 200, 404, 200]
    if os.geteuid() == 0:
        assert as_stranger(both) == [401, 401, 401, 401]


@as_root
def test_a_request_whose_sender_has_closed_its_socket_is_nobodys(portico, bucket):
    """The kernel shows a socket that was closed as root's."""
    bucket.blob("kept.txt").upload_from_string("kept")
    line = f"DELETE /storage/v1/b/{bucket.name}/o/kept.txt HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()

    def shoot() -> None:
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", portico.port)) as connection:
                connection.sendall(line)

    as_stranger(shoot)
    for _ in range(20):  # these are answered after those
        assert bucket.get_blob("kept.txt") is not None


@pytest.fixture
def opened(new_portico) -> Iterator[Any]:
    server = new_portico()
    server.options = ("--auth", "open")
    yield server.start()
    server.stop()


@as_root
def test_open_lets_everybody_in_and_says_so(opened):
    import subprocess
    import sys

    assert as_stranger(lambda: ask(opened.port, "GET", MODELS))[0] == 200
    found = as_stranger(
        lambda: ask(opened.port, "POST", PREDICT, b'{"instances": [1]}', {"content-type": "application/json"})
    )
    assert found[0] == 404
    assert "every user of this machine" in opened.process.stdout.readline()
    said = subprocess.run(
        [sys.executable, "-m", "portico.cli.main", "status", "--home", str(opened.home)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "every user of this machine" in said.stdout


@as_root
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_other_end_is_known_by_every_kind_of_address(family):
    """::1, and IPv4 through an IPv6 socket (::ffff:127.0.0.1)."""
    from portico.prediction.front.peers import Peers

    class Transport:
        def __init__(self, connection: socket.socket) -> None:
            self.connection = connection

        def get_extra_info(self, name: str) -> socket.socket:
            return self.connection

    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        port = listener.getsockname()[1]
        hosts = ["127.0.0.1"] if family == socket.AF_INET else ["::1", "::ffff:127.0.0.1"]
        for host in hosts:

            def connected(host: str = host) -> int:
                client = socket.socket(family)
                client.connect((host, port))
                return client.detach()  # open until the process ends

            peers: Any = Peers()
            mine = connected()
            assert peers.at_once(Transport(listener.accept()[0])) is True
            os.close(mine)
            as_stranger(lambda connect=connected: [connect(), peers_of(listener)][1])


def peers_of(listener: socket.socket) -> None:
    """In the stranger's process: the connection is its own, so it is asked as root would ask."""
    from portico.prediction.front import peers

    connection, _ = listener.accept()
    found = peers.Peers()._socket(connection.getpeername(), connection.getsockname())
    assert found is not None and found[0] == STRANGER, found


def test_everything_in_a_home_is_its_owners_alone(new_portico):
    """Of a server of its own: some tests act as a job in the shared one's home, with their own umask."""
    server = new_portico()
    server.start()
    try:
        ask(server.port, "POST", "/storage/v1/b?project=p", b'{"name": "owners"}', AS_JSON)
        ask(server.port, "POST", "/upload/storage/v1/b/owners/o?uploadType=media&name=a", b"a")
        pool = {"replicaCount": 1, "containerSpec": {"imageUri": "python:3.11", "command": ["true"]}}
        job = {"displayName": "j", "jobSpec": {"workerPoolSpecs": [pool]}}
        ask(server.port, "POST", MODELS.replace("models", "customJobs"), json.dumps(job).encode(), AS_JSON)
        until(
            lambda: list(server.home.glob("jobs/*/log.txt")) and list(server.home.glob("objects/*/*")),
            "both lie there",
        )
        assert others_may(server.home) == []
    finally:
        server.stop()
    server.home.chmod(0o755)
    for path in server.home.rglob("*"):
        if path.relative_to(server.home).parts[0] in BEFORE:
            path.chmod(0o755 if path.is_dir() else 0o644)
    (server.home / "models" / "1").mkdir(parents=True, mode=0o755)
    (server.home / "models" / "1" / "model.bst").write_text("x")
    server.start()
    try:
        assert others_may(server.home) == []
    finally:
        server.stop()


def test_a_folder_with_other_things_stays_open(tmp_path):
    from portico.host.private import make_private

    before = os.umask(0o022)
    try:
        (tmp_path / "pictures").mkdir()
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "block").touch()
        (tmp_path / "link").symlink_to(tmp_path / "pictures")
        tmp_path.chmod(0o755)
        make_private(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "pictures").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "spool" / "block").stat().st_mode) == 0o600


def others_may(home: Path) -> list[str]:
    here = (home, *home.rglob("*"))
    return [str(path) for path in here if not path.is_symlink() and path.lstat().st_mode & 0o077]


@as_root
def test_porticos_own_client_shows_the_key_where_it_is_not_known(
    portico: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(portico)  # what signing imports lies where the other user can't read

    def now() -> str:
        return Client(portico.url).now()

    with tempfile.NamedTemporaryFile() as key:  # in a folder that everybody may enter
        key.write((portico.home / "credentials.json").read_bytes())
        key.flush()
        os.chmod(key.name, 0o644)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key.name)
        assert as_stranger(now)
    with pytest.raises(Unauthenticated):
        as_stranger(now)
