"""Mail goes to a real SMTP server."""

from __future__ import annotations

import socketserver
import threading
from typing import Any

import pytest

from portico.services.alerts import mail


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
        monkeypatch.setenv(mail.VARIABLE, f"smtp://127.0.0.1:{box.server_address[1]}")
        return box

    yield make
    for box in made:
        box.shutdown()
        box.server_close()


def test_a_mail_arrives(mailbox: Any) -> None:
    box = mailbox()
    mail.send("a@x.org", "Drift\nof x", "It moved: é")
    (message,) = box.messages
    assert "Subject: Drift of x" in message and "To: a@x.org" in message
    assert len(box.recipients) == 1


def test_a_server_that_fails_is_told_of(mailbox: Any) -> None:
    mailbox(failures=1)
    with pytest.raises(mail.MailError, match="busy"):
        mail.send("a@x.org", "s", "t")
    mail.send("a@x.org", "s", "t")


def test_without_a_server_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mail.VARIABLE, raising=False)
    with pytest.raises(mail.MailError, match=mail.VARIABLE):
        mail.send("a@x.org", "s", "t")


def test_a_pipeline_tells_by_mail_how_it_ended(mailbox):
    from portico.errors import FailedPrecondition, InvalidArgument
    from portico.services.aiplatform.pipelines.components import notification

    status = {
        "state": "FAILED",
        "pipelineJobResourceName": "projects/p/locations/l/pipelineJobs/nightly",
        "pipelineTaskName": "train",
        "error": {"message": "the data is bad"},
    }
    given = {"recipients": ["one@example.com", "two@example.com"], "pipeline_task_final_status": status}
    said: list[str] = []
    box = mailbox()
    assert notification.run({"inputs": {"parameterValues": given}}, said.append)["parameterValues"] == {}
    assert len(box.messages) == len(said) == 2
    assert "nightly: FAILED" in box.messages[0] and "the data is bad" in box.messages[0]
    with pytest.raises(InvalidArgument, match="one to 3"):
        notification.run({"inputs": {"parameterValues": {**given, "recipients": []}}}, said.append)
    mailbox(failures=1)
    with pytest.raises(FailedPrecondition, match=r"one@example\.com could not be sent"):
        notification.run({"inputs": {"parameterValues": given}}, said.append)
