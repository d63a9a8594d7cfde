"""Cloud Storage."""

from portico.services.standard.apis import Api

API = Api(
    name="storage",
    versions=("v1",),
    title="Cloud Storage (`storage` v1)",
    note=(
        "Besides the methods: media, multipart and resumable uploads (`/upload/storage/v1`), ranged downloads "
        "(`alt=media`, `/download/storage/v1`), batches (`/batch/storage/v1`), and of the XML API buckets, the "
        "parts of their metadata and objects (GET, HEAD, PUT, DELETE), generations, lists of who may, multipart "
        "uploads and forms with a policy; signed URLs and requests (V4, V2), and what boto3 signs and "
        "sends; CORS of buckets."
    ),
    collections=(
        "access_controls",
        "buckets",
        "copies",
        "hmac_keys",
        "notifications",
        "objects",
        "policies",
        "uploads",
    ),
    mount="",
    errors="legacy",
    keep_nulls=True,
)
