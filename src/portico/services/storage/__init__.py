"""Cloud Storage (storage v1): importing this package registers its methods."""

from portico.services.storage import buckets, copies, objects, policies, uploads

__all__ = ["buckets", "copies", "objects", "policies", "uploads"]
