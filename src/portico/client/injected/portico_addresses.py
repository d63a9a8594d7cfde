"""Addresses of Google's APIs, and where they are here."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

URL = os.environ["PORTICO_URL"].rstrip("/")
NETLOC = urlsplit(URL).netloc
# Artifact Registry's repositories of compiled pipelines: us-central1-kfp.pkg.dev
_TEMPLATES = re.compile(r"([a-z0-9-]+)-kfp\.pkg\.dev")

_OF_BUCKETS = ".storage.googleapis.com"


def is_vertex(host: str) -> bool:
    # us-central1-aiplatform.googleapis.com, aiplatform.eu.rep.googleapis.com, 1.us-east1-2.prediction.vertexai.goog
    labels = host.lower().split(".")
    if labels[-2:] == ["prediction", "localhost"]:  # Portico's own dedicated endpoints
        return True
    vertex = labels[-2:] == ["googleapis", "com"] and any(x.split("-")[-1] == "aiplatform" for x in labels)
    return vertex or labels[-3:] == ["prediction", "vertexai", "goog"]


def is_googles(host: str) -> bool:
    """Whether `host` has an API of Google's."""
    return is_vertex(host) or is_google(host.lower())


def is_google(host: str) -> bool:
    return host == "googleapis.com" or host.endswith(".googleapis.com")


def _mount(host: str, path: str) -> str:
    """Where the API of Google's at `host` is here: at the root, where its paths collide with no other's, else
    below /apis/NAME, which answers 501 while it is not built (`portico.services.standard.apis`).
    """
    host = host.lower()
    if is_vertex(host) or host == "storage.googleapis.com":
        return ""
    name = host.split(".")[0].split("-")[-1]  # bigquery, us-documentai, bigquery.us-east4.rep, www
    if name == "www":
        name = path.lstrip("/").split("/")[0]
    at_root = name in ("bigquery", "storage", "upload", "download", "batch", "resumable")
    return "" if at_root else "/apis/" + name


def local_url(url: str) -> str:
    """`url`, moved to this server where it goes to an API of Google's."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.netloc == NETLOC:
        return URL + url.split("://", 1)[1][len(parts.netloc) :]
    rest = url.split("://", 1)[-1]
    found = _TEMPLATES.fullmatch(host)
    if found:
        return f"{URL}/apis/artifactregistry/kfp/{found.group(1)}" + rest[len(parts.netloc) :]
    if is_vertex(host) or is_google(host):
        bucket = _bucket_in(host)
        mount = f"/{bucket}" if bucket else _mount(host, parts.path)
        return URL + mount + rest[len(parts.netloc) :]
    return url


def _bucket_in(host: str) -> str:
    """The bucket that the host names: BUCKET.storage.googleapis.com."""
    return host[: -len(_OF_BUCKETS)] if host.endswith(_OF_BUCKETS) else ""


def local_endpoint(endpoint: str | None, default: str = "aiplatform.googleapis.com") -> str:
    """The `api_endpoint` of a client of `default`, moved here unless it names some other server on purpose."""
    parts = urlsplit(endpoint if endpoint and "://" in endpoint else "https://" + (endpoint or default))
    host = parts.hostname or ""
    if parts.netloc == NETLOC:
        return URL + parts.path
    return URL + _mount(host, "") if is_vertex(host) or is_google(host) else str(endpoint)


def public_url(url: str) -> str:
    """`url` of an object that is asked for without a token, moved to this server where anyone may read it here; what is
    not here, such as a public data set, is where it was."""
    host = urlsplit(url).hostname or ""
    return local_url(url) if ("." + host).endswith(_OF_BUCKETS) and _is_here(local_url(url)) else url


def _is_here(url: str) -> bool:
    """Whether the bucket is one of this server's that the caller may read: what is in none is not found, or refused."""
    import http.client

    here = http.client.HTTPConnection(NETLOC, timeout=60)
    try:
        here.request("GET", url[len(URL) :], headers={"Range": "bytes=0-0"})
        answer = here.getresponse()
        return answer.status not in (401, 403) and b"NoSuchBucket" not in answer.read(1000)
    except OSError:
        return False
    finally:
        here.close()
