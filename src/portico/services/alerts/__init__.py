"""Alerts and mail: who is told of what was found. Used by the other services, uses none of them."""
