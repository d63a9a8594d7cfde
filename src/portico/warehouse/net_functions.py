"""GoogleSQL's NET functions: hosts of URLs, addresses as bytes in network order."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any


def host(url: str) -> str | None:
    """The host of a URL, as it is written; None where it has none."""
    found = re.match(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^@/?#]*@)?(\[[^\]]*\]|[^:/?#\s]*)", url)
    if found is None:
        found = re.match(r"\s*(?:[^@/?#]*@)?(\[[^\]]*\]|[^:/?#\s]+)", url)
    return (found[1] or None) if found else None


def ip_from_string(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise ValueError(f"Invalid IP address string: {text}") from None


def safe_ip_from_string(text: str) -> bytes | None:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        return None


def ip_to_string(address: bytes) -> str:
    if len(address) not in (4, 16):
        raise ValueError("NET.IP_TO_STRING takes an address of 4 or 16 bytes")
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return f"::ffff:{found.ipv4_mapped}"
    return str(found)


def ipv4_to_int64(address: bytes) -> int:
    if len(address) != 4:
        raise ValueError("NET.IPV4_TO_INT64 takes an address of 4 bytes")
    return int.from_bytes(address, "big")


def ipv4_from_int64(number: int) -> bytes:
    if not -(1 << 31) <= number < 1 << 32:
        raise ValueError(f"NET.IPV4_FROM_INT64's argument is out of range: {number}")
    return (number & 0xFFFFFFFF).to_bytes(4, "big")


def ip_net_mask(size: int, prefix: int) -> bytes:
    if size not in (4, 16) or not 0 <= prefix <= size * 8:
        raise ValueError("NET.IP_NET_MASK takes 4 or 16 bytes, and a prefix of no more bits than that")
    bits = size * 8
    return ((1 << bits) - (1 << bits - prefix)).to_bytes(size, "big")


def ip_trunc(address: bytes, prefix: int) -> bytes:
    mask = ip_net_mask(len(address), prefix)
    return bytes(one & other for one, other in zip(address, mask, strict=True))


NET_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "net__host": (host, ["VARCHAR"], "VARCHAR"),
    "net__ip_from_string": (ip_from_string, ["VARCHAR"], "BLOB"),
    "net__safe_ip_from_string": (safe_ip_from_string, ["VARCHAR"], "BLOB"),
    "net__ip_to_string": (ip_to_string, ["BLOB"], "VARCHAR"),
    "net__ipv4_to_int64": (ipv4_to_int64, ["BLOB"], "BIGINT"),
    "net__ipv4_from_int64": (ipv4_from_int64, ["BIGINT"], "BLOB"),
    "net__ip_net_mask": (ip_net_mask, ["BIGINT", "BIGINT"], "BLOB"),
    "net__ip_trunc": (ip_trunc, ["BLOB", "BIGINT"], "BLOB"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
