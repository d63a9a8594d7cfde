"""A small OpenID provider that runs here: discovery, keys, and the authorization code flow with PKCE, whose tokens are
really signed. Whoever comes is let in as `person`."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa


class Provider:
    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.client, self.secret = "portico", secrets.token_urlsafe(8)
        self.person: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"provider": self}))
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def signed(
        self, claims: dict[str, Any], key: Any = None, algorithm: str = "RS256", kid: str = "1"
    ) -> str:
        return jwt.encode(claims, key or self.key, algorithm=algorithm, headers={"kid": kid})

    def get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            found = {name: f"{self.issuer}/{place}" for name, place in places.items()}
            return 200, found | {"issuer": self.issuer, "id_token_signing_alg_values_supported": ["RS256"]}
        if path.startswith("/to/"):  # to the address that is in it, in base64
            return 302, base64.urlsafe_b64decode(path.split("/")[2]).decode()
        if path == "/keys":
            shown = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return 200, {"keys": [shown | {"kid": "1", "use": "sig", "alg": "RS256"}]}
        code = secrets.token_urlsafe(8)
        self._codes[code] = query
        return 302, f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def post(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        """The token endpoint: a code is good once, for the client and the verifier that it was made for."""
        asked = self._codes.pop(form.get("code", ""), None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        pair = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        if (
            asked is None or authorization != f"Basic {pair}" or asked["client_id"] != self.client
            or asked["code_challenge"] != digest.decode().rstrip("=") or asked["redirect_uri"] != form["redirect_uri"]
        ):  # fmt: skip
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.client, "iat": now, "exp": now + 300, "nonce": asked["nonce"],
                  "email_verified": True} | self.person  # fmt: skip
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)}


class _Answer(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self._send(*self.provider.get(url.path, dict(parse_qsl(url.query))))

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        given = {name: values[0] for name, values in form.items()}
        self._send(*self.provider.post(given, self.headers.get("authorization", "")))

    def _send(self, status: int, answer: Any) -> None:
        body = b"" if status == 302 else json.dumps(answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("location", answer)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
