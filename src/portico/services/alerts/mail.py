"""Mail about anomalies: what moved, since when, how far. A mail server that fails blocks nothing."""

from __future__ import annotations

import logging
import os
import smtplib
import socket
import threading
import time
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from portico.services.standard.deadline import Deadline

log = logging.getLogger(__name__)

VARIABLE: Final = "PORTICO_SMTP"  # smtp://[user:password@]host[:port], or smtps://
_ATTEMPTS: Final = 4
_TIMEOUT: Final = 10.0  # seconds for the whole of a mail


class MailError(Exception):
    """A mail could not be sent."""


def send_once(to: list[str], subject: str, text: str) -> None:
    """
    Raises:
        MailError: there is no mail server, or it did not take the mail.
    """
    url = os.environ.get(VARIABLE, "")
    if not url:
        raise MailError(f"There is no mail server: set {VARIABLE}.")
    try:
        _deliver_once(url, _message(to, subject, text))
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(str(error)) from None


def send(to: list[str], subject: str, text: str, pause: float = 5.0) -> threading.Thread | None:
    """Sends in a thread, again after `pause`, twice that, … seconds when it fails; None without a mail server."""
    url = os.environ.get(VARIABLE, "")
    if not to or not url:
        if to:
            log.warning("no mail to %s about %r: set %s to send it", ", ".join(to), subject, VARIABLE)
        return None
    message = _message(to, subject, text)
    thread = threading.Thread(target=_deliver, args=(url, message, pause), name="mail", daemon=True)
    thread.start()
    return thread


def _message(to: list[str], subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = os.environ.get("PORTICO_MAIL_FROM", "portico@localhost")
    message["To"] = ", ".join(to)
    message["Subject"] = " ".join(subject.split())
    message.set_content(text)
    return message


def _deliver(url: str, message: EmailMessage, pause: float) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            _deliver_once(url, message)
            return
        except (OSError, smtplib.SMTPException) as error:
            log.warning("mail to %s was not sent (attempt %d): %s", message["To"], attempt + 1, error)
            if attempt + 1 < _ATTEMPTS:
                time.sleep(pause * 2**attempt)


def _deliver_once(url: str, message: EmailMessage) -> None:
    place = urlsplit(url)
    kind = _SecureServer if place.scheme == "smtps" else _Server
    with (
        Deadline(_TIMEOUT) as deadline,
        kind(deadline, place.hostname or "localhost", place.port or 0, timeout=_TIMEOUT) as server,
    ):
        if place.username:
            server.login(unquote(place.username), unquote(place.password or ""))
        server.send_message(message)


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
