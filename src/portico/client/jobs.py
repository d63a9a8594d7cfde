"""Tells users' code that runs here as a job how Google's clients find this server: imported where jobs run."""

from __future__ import annotations

from portico.client.settings import injected_folder, settings
from portico.services.aiplatform.custom import run

run.clients = lambda home: (settings(home), injected_folder())
