"""What points the official Google clients at a running Portico."""

from portico.client.settings import commands_folders, injected_folder, of_a_shell, portico_alone, settings

__all__ = ["commands_folders", "injected_folder", "of_a_shell", "portico_alone", "settings"]
