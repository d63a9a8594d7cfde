"""RSA keys of service accounts and of this server: made, written as PEM, and what is signed with them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Made:
    """PEM of the private key (PKCS 8) and of a self-signed certificate of the public one."""

    private: str
    certificate: str


def make(email: str, now: float) -> Made:
    """A new key of 2048 bits. Takes a tenth of a second, or several."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, email[:64])])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now, UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Made(pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A certificate that its owner made: PEM, the key's bits, and until when it is good (seconds since the epoch)."""

    certificate: str
    bits: int
    begin: float
    end: float


def read_certificate(pem: bytes) -> Uploaded:
    """
    Raises:
        ValueError: it is no X.509 certificate of an RSA key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    certificate = x509.load_pem_x509_certificate(pem)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("its key is no RSA key")
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Uploaded(text, key.key_size, begin.timestamp(), end.timestamp())


def public_pem(certificate: str) -> str:
    """The public key of a certificate, as PEM."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = public(certificate).public_bytes(serialization.Encoding.PEM, form)
    return pem.decode()


@functools.lru_cache(256)
def public(certificate: str) -> Any:
    """The public key of a certificate."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).public_key()


@functools.lru_cache(256)
def private(pem: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(pem.encode(), None)


def sign(pem: str, payload: bytes) -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RS256)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    signature: bytes = private(pem).sign(payload, padding.PKCS1v15(), hashes.SHA256())
    return signature


def verifies(key: Any, payload: bytes, signature: bytes) -> bool:
    """Whether it is what the holder of this public key signs of `payload` (RS256)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        key.verify(signature, payload, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def sign_jwt(pem: str, key_id: str, claims: dict[str, Any]) -> str:
    """`claims` as a JWT (RFC 7519), signed by RS256."""
    import jwt

    return jwt.encode(claims, private(pem), algorithm="RS256", headers={"kid": key_id})
