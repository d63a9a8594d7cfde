"""Mail goes to a real SMTP server, is tried again, and blocks nothing."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import Any

import pytest

from portico.services.alerts import mail as monitoring_mail


class Mailbox(socketserver.ThreadingTCPServer):
    """A small SMTP server (RFC 5321): keeps what it is sent; refuses the first `failures` connections."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, failures: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.failures = failures
        self.messages: list[str] = []
        self.recipients: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        if self.server.failures:
            self.server.failures -= 1
            self.say("421 busy")
            return
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(":")[0].split(" ")[0].upper()
            if verb == "RCPT":
                self.server.recipients.append(line)
            if verb == "DATA":
                self.say("354 go on")
                lines = []
                while (got := self.rfile.readline().decode()) != ".\r\n":
                    lines.append(got)
                self.server.messages.append("".join(lines))
            self.say("221 bye" if verb == "QUIT" else "250 ok")
            if verb == "QUIT":
                return

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: list[Mailbox] = []

    def make(failures: int = 0) -> Mailbox:
        box = Mailbox(failures)
        made.append(box)
        monkeypatch.setenv(monitoring_mail.VARIABLE, f"smtp://127.0.0.1:{box.server_address[1]}")
        return box

    yield make
    for box in made:
        box.shutdown()
        box.server_close()


@pytest.mark.parametrize("failures", [0, 2])
def test_a_mail_arrives(mailbox: Any, failures: int) -> None:
    box = mailbox(failures)
    thread = monitoring_mail.send(["a@x.org", "b@x.org"], "Drift\nof x", "It moved: é", pause=0.01)
    assert thread is not None
    thread.join(240)
    (message,) = box.messages
    assert "Subject: Drift of x" in message and "To: a@x.org, b@x.org" in message
    assert len(box.recipients) == 2


def test_a_broken_server_blocks_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv(monitoring_mail.VARIABLE, f"smtp://127.0.0.1:{probe.getsockname()[1]}")
    thread = monitoring_mail.send(["a@x.org"], "s", "t", pause=0.01)
    assert thread is not None and "was not sent" not in caplog.text  # nobody waited for it
    thread.join(240)
    assert caplog.text.count("was not sent") == 4


def test_without_a_server_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(monitoring_mail.VARIABLE, raising=False)
    assert monitoring_mail.send(["a@x.org"], "s", "t") is None
    assert monitoring_mail.VARIABLE in caplog.text
    assert monitoring_mail.send([], "s", "t") is None
