"""Portico's own API: what Google has none for."""
