"""Mail, by the server that the environment names."""

from __future__ import annotations

import os
import smtplib
import socket
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from portico.services.standard.deadline import Deadline

VARIABLE: Final = "PORTICO_SMTP"  # smtp://[user:password@]host[:port], or smtps://
_TIMEOUT: Final = 10.0  # seconds for the whole of a mail


class MailError(Exception):
    """A mail could not be sent."""


def send(to: str, subject: str, text: str) -> None:
    """Sends once, within ten seconds.

    Raises:
        MailError: there is no mail server, or it did not take the mail.
    """
    url = os.environ.get(VARIABLE, "")
    if not url:
        raise MailError(f"There is no mail server: set {VARIABLE}.")
    message = EmailMessage()
    message["From"] = os.environ.get("PORTICO_MAIL_FROM", "portico@localhost")
    message["To"] = to
    message["Subject"] = " ".join(subject.split())
    message.set_content(text)
    place = urlsplit(url)
    kind = _SecureServer if place.scheme == "smtps" else _Server
    try:
        with (
            Deadline(_TIMEOUT) as deadline,
            kind(deadline, place.hostname or "localhost", place.port or 0, timeout=_TIMEOUT) as server,
        ):
            if place.username:
                server.login(unquote(place.username), unquote(place.password or ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(str(error)) from None


class _Server(smtplib.SMTP):
    """Its connection ends with the deadline."""

    def __init__(self, deadline: Deadline, *args: Any, **kwargs: Any) -> None:
        self._deadline = deadline
        super().__init__(*args, **kwargs)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._deadline.connect((host, port))


class _SecureServer(smtplib.SMTP_SSL, _Server):
    """The same over TLS, which it wraps around what `_Server` connects."""

    def __init__(self, deadline: Deadline, *args: Any, **kwargs: Any) -> None:
        self._deadline = deadline
        smtplib.SMTP_SSL.__init__(self, *args, **kwargs)
