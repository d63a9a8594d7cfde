"""For other machines: TLS, tokens of everybody, and Google's clients with the file of whom to trust."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.cloud import bigquery, storage
from google.oauth2 import credentials
from tests.doors.test_identity import sign
from tests.services.iam.test_users import run

from portico.host import tls


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: Any) -> tls.Certificate:
    home = tmp_path_factory.mktemp("tls")
    (home / "run").mkdir()
    return tls.self_made(home, ["localhost", "127.0.0.1"])


@pytest.fixture(scope="module")
def port(portico: Any, certificate: tls.Certificate) -> Iterator[int]:
    """Where the server of the session is reached by TLS, as by other machines."""
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    passing = tls.Passing(portico.home, certificate, 1)
    thread = threading.Thread(target=loop.run_until_complete, args=(passing.serve(listener, stop),))
    thread.start()
    yield listener.getsockname()[1]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def url(port: int, certificate: tls.Certificate, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.file))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    return f"https://localhost:{port}"


def token(server: Any) -> str:
    """The owner's, for every address."""
    return sign(server, aud=None, scope="https://www.googleapis.com/auth/cloud-platform")


def test_googles_clients_come_by_tls(portico, aiplatform, url):
    shown = credentials.Credentials(token(portico))
    there = ClientOptions(api_endpoint=url)
    bucket = storage.Client("beyond", shown, client_options=there).create_bucket(f"beyond-{time.time_ns()}")
    bucket.blob("a").upload_from_string(b"x" * 3_000_000)
    assert bucket.blob("a").download_as_bytes() == b"x" * 3_000_000
    assert bucket.blob("b").create_resumable_upload_session().startswith(f"{url}/")
    assert bucket.get_blob("a").media_link.startswith(f"{url}/")
    rows = bigquery.Client("beyond", shown, client_options=there).query("SELECT 1").result()
    assert [tuple(row) for row in rows] == [(1,)]
    aiplatform.init(
        project="beyond", location="us-central1", api_endpoint=url, api_transport="rest", credentials=shown
    )
    assert aiplatform.Model.list() == []
    own = {
        "authorization": f"Bearer {sign(portico, aud=f'{url}/')}"
    }  # a token for this address, and for no other
    assert (
        requests.get(f"{url}/v1/projects/beyond/locations/us-central1/models", headers=own).status_code == 200
    )
    assert (
        requests.get(
            f"{portico.url}/v1/projects/beyond/locations/us-central1/models", headers=own
        ).status_code
        == 401
    )


def test_who_comes_by_tls_shows_a_token(portico, url):
    """Also the user of this machine who runs the server: whose the connection is, TLS hides."""
    models = f"{url}/v1/projects/beyond/locations/us-central1/models"
    predict = f"{url}/v1/projects/beyond/locations/us-central1/endpoints/1:predict"
    shown = {"authorization": f"Bearer {token(portico)}"}
    with requests.Session() as session:
        for _ in range(2):  # from front to control and back, on one connection
            assert session.get(models).status_code == 401
            assert session.post(predict, json={"instances": [1]}).status_code == 401
            assert session.get(models, headers=shown).status_code == 200
            assert session.post(predict, json={"instances": [1]}, headers=shown).status_code == 404
        assert session.get(models, headers=shown | {"host": "evil.example"}).status_code == 403
        assert session.post(models, headers=shown | {"origin": "https://evil.example"}).status_code == 403
        page = session.get(f"{url}/-/console/sign-in")
        assert page.status_code == 200 and "Secure" in page.headers["set-cookie"]
    told = {"x-forwarded-proto": "https"}  # what a client says of that is nothing
    page = requests.get(f"{portico.url}/-/console/sign-in", headers=told, timeout=240)
    assert "Secure" not in page.headers["set-cookie"]


def test_what_is_no_tls_is_not_answered(port, url, monkeypatch):
    with pytest.raises((http.client.HTTPException, OSError)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/-/healthz")
        connection.getresponse()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    with pytest.raises(requests.exceptions.SSLError):  # who does not trust the certificate says nothing
        requests.get(url, verify=True, timeout=240)


def test_a_certificate_of_ones_own(tmp_path):
    (tmp_path / "run").mkdir()
    first = tls.self_made(tmp_path, ["a.example", "10.0.0.1"])
    assert first.names == ("a.example", "10.0.0.1") and len(first.fingerprint) == 95
    assert "PRIVATE" not in first.file.read_text() and first.key.stat().st_mode & 0o077 == 0
    assert tls.self_made(tmp_path, ["a.example"]) == first  # it stays while it is for all that is asked
    assert tls.self_made(tmp_path, ["b.example"]).fingerprint != first.fingerprint
    assert tls.given(first.file, first.key).names == ("b.example",)
    (tmp_path / "x").write_text("x")
    for wrong in (tmp_path / "none", tmp_path / "x", first.key):
        with pytest.raises((OSError, ValueError)):
            tls.given(wrong, None)


@pytest.mark.slow
def test_the_command_listens_beyond_this_machine(new_portico: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = new_portico()
    server.options = ("--host", "0.0.0.0", "--auth", "required", "--name", "portico.example")
    server.start()
    try:
        lines = [server.process.stdout.readline() for _ in range(3)]
        trusted = lines[1].split(" by ")[1].split(" (")[0]
        context = ssl.create_default_context(cafile=trusted)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            context.wrap_socket(plain, server_hostname="portico.example") as secure,
        ):
            digest = hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest().upper()
        assert lines[0].split()[-1].replace(":", "") == digest
        local = lines[2].split()[-1]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusted)
        path = "/v1/projects/beyond/locations/us-central1/models"
        far = f"https://127.0.0.1:{server.port}{path}"
        shown = {"authorization": f"Bearer {token(server)}"}
        for address in (far, local + path):
            assert requests.get(address, timeout=240).status_code == 401
            assert requests.get(address, headers=shown, timeout=240).status_code == 200
        named = shown | {"host": "portico.example"}
        assert requests.get(far, headers=named, timeout=240).status_code == 200
        status = run(server, "status").splitlines()
        assert local in status[0] and "by TLS, at https://" in status[1]
        assert Path(trusted).is_relative_to(server.home)
    finally:
        assert server.stop() == 0


def test_the_certificate_names_the_addresses_of_the_machines_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the machine's own name leads to loopback, as on Debian; not those that mean nothing elsewhere."""
    cards = {
        "lo": [SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")],
        "eth0": [
            SimpleNamespace(family=socket.AF_PACKET, address="00:00:00:00:00:01"),
            SimpleNamespace(family=socket.AF_INET, address="192.0.2.7"),
            SimpleNamespace(family=socket.AF_INET6, address="2001:db8::7"),
            SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth0"),
        ],
    }
    monkeypatch.setattr("psutil.net_if_addrs", lambda: cards)
    names = tls.own_names()
    assert {"127.0.0.1", "192.0.2.7", "2001:db8::7"} <= set(names) and "localhost" in names
    assert not [one for one in names if one.startswith(("fe80", "00:"))]
