"""What requests are made of when they are to be wrong: pools of values, some of them right."""

from __future__ import annotations

from typing import Any

# fmt: off
# What methods look at first: without these fields most requests would not get far.
WANTED = {
    "artifactUri", "containerSpec", "datasetId", "dedicatedResources", "displayName", "gcsDestination",
    "gcsSource", "imageUri", "inputDataConfig", "instances", "instancesFormat", "metadata", "metrics",
    "metricsSchemaUri", "minReplicaCount", "model", "name", "outputUriPrefix", "predictionsFormat", "uris",
}
# Strings for any field or parameter.
TEXTS = (
    "", " ", "a", "0", "-1", "null", "true", "default", "é", "日本語", "\U0001f984", "a b", "a/b", "..",
    "../..", "a" * 300, "\x00", "a\x00b", "\x7f", "\r\nX: y", "%", "%00", "'; DROP TABLE resources; --", '"',
    "\\", "{}", "[]", "*", "?", "-", "_", "~", "@1", "x@1", "x@default", "1:predict", ":", "\u202e",
    "\ufeff", "NaN", "1e999", ".", "gs://", "gs:///x", "gs://bucket", "gs://no-such-bucket/x",
    "file:///etc/passwd", "projects/p/locations/l/x/1",
)
# Percent-encoded segments of a path.
SEGMENTS = (
    "%00", "%2e%2e", "..", ".", "%2F", "a%2Fb", "%", "%zz", "%ff", "%C3%A9", "%ed%a0%80", "a" * 2000, "%20",
    "a:b", "a:", ":", "@", "x@1", "x@", "@@", "*", "-", "~", "%0d%0aX:%20y", "+", "null", "%25", "$", "(",
    "%22",
)
# Values of filter.
FILTERS = (
    "displayName=trees", "display_name:*", 'labels.team="trees"', "createTime>2020-01-01T00:00:00Z",
    "state=x", "(", ")", "a AND", "NOT", "NOT NOT a", "a=b OR", '"', "a=", "=a", "a.b.c.d:e", "f(x)",
    "a=" * 99, "(" * 500, "-a", "a:(b OR c)", "displayName>=5", "labels:*", "x" * 5000, "a=\x00",
    "done=true", "metadata.x=1", "a b c", "'", " AND ".join(["a=1"] * 300), "labels.'a b'=1", "name=~'.*'",
    "createTime>yesterday", "dataItemCount>1", "a!=1",
)
# Values of orderBy.
ORDERS = (
    "createTime desc", "display_name,name", "labels.team", "x", "createTime up", ",", "a.b.c desc,,", " ",
    "\x00",
)
# Values of updateMask and readMask.
MASKS = (
    "displayName", "display_name,labels", "*", "labels.team", "x", "name", "etag", ",", "a..b",
    "displayName.x",
)
# Values of fields.
FIELDS = (
    "name", "*", "x/y", "items(", "a(b", "", "a,b(c,d)", "\x00", "(" * 300,
)
# What a prediction is asked for.
INSTANCES: tuple[Any, ...] = (
    {"a": 1, "b": 2, "c": 3}, {"a": "x"}, [1, 2, 3], [1], 1, None, {}, {"a": {}}, {"a": [1]},
)
# fmt: on
