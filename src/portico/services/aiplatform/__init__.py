"""Vertex AI: a file a resource collection; `api.py` names those that register methods."""
