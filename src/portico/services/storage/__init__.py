"""Cloud Storage (storage v1): importing this package registers its methods."""

from portico.services.storage import access_controls, buckets, copies, objects, policies, uploads

__all__ = ["access_controls", "buckets", "copies", "objects", "policies", "uploads"]
