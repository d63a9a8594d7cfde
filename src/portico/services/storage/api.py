"""Cloud Storage."""

from portico.services.standard.apis import Api

API = Api(
    name="storage",
    versions=("v1",),
    title="Cloud Storage (`storage` v1)",
    note=(
        "Besides the methods: media, multipart and resumable uploads (`/upload/storage/v1`), ranged downloads "
        "(`alt=media`, `/download/storage/v1`), batches (`/batch/storage/v1`), and of the XML API the objects "
        "(GET, HEAD, PUT, DELETE) and multipart uploads."
    ),
    collections=("access_controls", "buckets", "copies", "objects", "policies", "uploads"),
    mount="",
    errors="legacy",
    keep_nulls=True,
)
