"""The audit log: who did what. Used by the doors, uses no other service."""
