"""What a bucket and an object may be called (cloud.google.com/storage/docs/buckets#naming, objects#naming).

Names are never made into paths, so every name that the rules allow is safe: `a` beside `a/b`, `..`, `/`.
"""

from __future__ import annotations

import re

from portico.errors import InvalidArgument

_COMPONENT = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_IP_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
MAX_OBJECT_NAME_BYTES = 1024
IMAGES = "portico-images"
"""The bucket of what `docker build` makes under `portico exec`, for everybody: by image names, with their tags."""


def is_bucket_name(name: str) -> bool:
    """Whether Google would take `name` for a bucket."""
    return (
        3 <= len(name) <= (222 if "." in name else 63)
        and all(_COMPONENT.fullmatch(part) for part in name.split("."))
        and not _IP_ADDRESS.fullmatch(name)
        and not name.startswith("goog")
        and "google" not in name
        and "g00gle" not in name
    )


def check_bucket_name(name: str) -> None:
    """Raises InvalidArgument (reason `invalid`) for a name that no bucket may have."""
    if not is_bucket_name(name):
        raise InvalidArgument(
            f"Invalid bucket name: '{name}'. A bucket name has 3 to 63 lower-case letters, digits, dashes, "
            "underscores and dots, begins and ends with a letter or digit, and does not name Google.",
            reason="invalid",
        )


def check_object_name(name: str) -> None:
    """Raises InvalidArgument (reason `required` or `invalid`) for a name that no object may have."""
    if not name:
        raise InvalidArgument("Required parameter: name", reason="required", field="name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("The object name is not valid UTF-8.", reason="invalid", field="name") from None
    if size > MAX_OBJECT_NAME_BYTES:
        problem = f"it has {size} bytes of UTF-8, at most {MAX_OBJECT_NAME_BYTES} are allowed"
    elif name in (".", ".."):
        problem = "a dot or two alone are no name"
    elif "\n" in name or "\r" in name:
        problem = "it contains a carriage return or a line feed"
    elif name.startswith(".well-known/acme-challenge/"):
        problem = "it begins with .well-known/acme-challenge/"
    else:
        return
    raise InvalidArgument(f"The object name is not allowed: {problem}.", reason="invalid", field="name")
