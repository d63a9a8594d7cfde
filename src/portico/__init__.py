"""Portico: Google Cloud's machine-learning platform on your own machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portico.client.api import Client

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Client":  # the server imports this package too, and needs no client
        from portico.client.api import Client

        return Client
    raise AttributeError(f"module 'portico' has no attribute {name!r}")
