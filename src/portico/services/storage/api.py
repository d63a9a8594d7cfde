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
        "sends; customer-supplied encryption keys; CORS of buckets. Soft delete: a bucket that is made without a "
        "softDeletePolicy keeps nothing of what is deleted, and says so (`retentionDurationSeconds` 0; Google's keep "
        "it for 7 days), for it would fill a disk of one's own; with one from 7 to 90 days it does as Google's, but "
        "that a policy of 0 frees at once what it has kept. A deleted bucket is restored without its notifications "
        "and tags."
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
