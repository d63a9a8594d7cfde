"""How people get a session, which the console's page asks for: by their password (RFC 6749, section 4.3), or by what
their company's OpenID provider says of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from portico.doors.identity import Identity, NoToken
from portico.errors import NotFound, PorticoError
from portico.services.call import Rooms
from portico.services.iam import accounts, oidc, passwords, sessions
from portico.services.iam.accounts import State, UserPrivate
from portico.services.iam.oidc import OidcPrivate
from portico.store import resources

PASSWORD: Final = "password"
COMPANY: Final = "authorization_code"
_FREE: Final = 5  # wrong passwords in a row without a pause
_LONGEST: Final = 300.0  # seconds of the longest pause
_MOST: Final = 10_000  # addresses of which that is remembered


@dataclass(slots=True)
class _Wrong:
    """How often an address came with a wrong password since the last right one, and until when it has to wait."""

    count: int = 0
    until: float = 0.0  # monotonic


class SigningIn:
    """Passwords not in several threads at once: that is how many are tried at a time, too."""

    def __init__(self, rooms: Rooms, identity: Identity) -> None:
        self._rooms = rooms
        self._identity = identity
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()

    def by_password(self, form: Mapping[str, str]) -> dict[str, Any]:
        """A token for an address (`username`) and its password.

        Raises:
            NoToken: they do not fit, or too many that did not came before.
        """
        email, password = form.get("username", "").strip().lower(), form.get("password", "")
        wrong = self._wrong.get(email) or _Wrong()
        left = wrong.until - self._rooms.clock.monotonic()
        if left > 0:
            raise NoToken(
                "invalid_grant",
                f"Too many wrong passwords for {email}: try again in {int(left) + 1} seconds.",
            )
        with self._rooms.database.read() as connection:
            user = resources.get(connection, f"users/{email}")
            good = accounts.state(connection, email) is State.ENABLED
        known = user is not None and user.kind == accounts.USERS and good
        kept = UserPrivate.of(user).password if user is not None and known else ""
        if not passwords.fits(kept, password):
            self._note(email, wrong)
            raise NoToken("invalid_grant", "The address or the password is wrong.")
        self._wrong.pop(email, None)
        return self.answer(email)

    def company(self) -> dict[str, Any]:
        """What the page where one signs in calls the company; {} where none has a provider."""
        with self._rooms.database.read() as connection:
            found = resources.get(connection, oidc.NAME)
        return {} if found is None else {"displayName": found.body["displayName"]}

    def provider(self) -> dict[str, Any]:
        """Where its people are sent, and as whose.

        Raises:
            NotFound: no provider is set. Unavailable: it does not answer.
        """
        with self._rooms.database.read() as connection:
            found = resources.get(connection, oidc.NAME)
        if found is None:
            raise NotFound("No provider is set.")
        address = oidc.discovered(found.body["issuer"]).authorization
        return {"clientId": found.body["clientId"], "authorizationEndpoint": address}

    def by_company(self, form: Mapping[str, str]) -> dict[str, Any]:
        """A token for whom the company's provider says to know, by the code that it gave them.

        Raises:
            NoToken: it does not, or they are nobody here.
        """
        with self._rooms.database.read() as connection:
            client = resources.get(connection, oidc.NAME)
        if client is None:
            raise NoToken("unsupported_grant_type", "No provider is set.")
        secret, now = OidcPrivate.of(client).client_secret, self._rooms.clock.now()
        try:
            email, subject = oidc.who(oidc.discovered(client.body["issuer"]), client.body, secret, form, now)
        except PorticoError as error:
            raise NoToken("invalid_grant", error.message) from None
        domains = client.body["domains"]
        if domains and email.rpartition("@")[2] not in domains:
            raise NoToken("invalid_grant", f"{email} is of no domain that may sign in here.")
        self._meet(email, subject, bool(client.body["createUsers"]))
        return self.answer(email)

    def _meet(self, email: str, subject: str, create: bool) -> None:
        """Notes with which of the provider's accounts a user signs in, so that the address alone opens nothing when it
        is somebody else's one day."""
        now = self._rooms.clock.now()
        with self._rooms.database.write() as connection:
            user = resources.get(connection, f"users/{email}")
            if user is None and create and not accounts.is_service_account(email):
                user = resources.insert(
                    connection, name=f"users/{email}", kind=accounts.USERS, parent="users", body={"email": email},
                    now=now, private=UserPrivate(subject=subject),
                )  # fmt: skip
                accounts.changed(connection)
            if user is None or user.kind != accounts.USERS:
                raise NoToken("invalid_grant", f"{email} is no user here: portico users add makes one.")
            if user.body.get("disabled"):
                raise NoToken("invalid_grant", f"{email} is disabled.")
            known = UserPrivate.of(user)
            if known.subject not in ("", subject):
                raise NoToken(
                    "invalid_grant", f"{email} signed in with another account of the provider before."
                )
            if not known.subject:
                known.subject = subject
                resources.update(connection, user, now)

    def answer(self, email: str) -> dict[str, Any]:
        """The answer of the token endpoint to somebody who has shown that this address is theirs."""
        with self._rooms.database.write() as connection:
            token = sessions.begin(connection, self._rooms, email)
        return {"access_token": token, "expires_in": sessions.SECONDS, "token_type": "Bearer"}

    def end(self, token: str) -> None:
        """Ends the session that a token is of (RFC 7009): nothing happens where it is of none."""
        if found := self._identity.session(token):
            with self._rooms.database.write() as connection:
                sessions.end(connection, *found)

    def _note(self, email: str, wrong: _Wrong) -> None:
        wrong.count += 1
        pause = min(_LONGEST, 2.0 ** (wrong.count - _FREE)) if wrong.count >= _FREE else 0.0
        wrong.until = self._rooms.clock.monotonic() + pause
        self._wrong[email] = wrong
        self._wrong.move_to_end(email)
        while len(self._wrong) > _MOST:
            self._wrong.popitem(last=False)
