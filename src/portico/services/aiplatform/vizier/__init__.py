"""Vizier: studies, which search a space of parameters, and their trials."""
