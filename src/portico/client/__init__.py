"""What points the official Google clients at a running Portico."""

from portico.client.settings import injected_folder, settings

__all__ = ["injected_folder", "settings"]
