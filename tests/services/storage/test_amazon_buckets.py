"""The parts of a bucket's metadata, lists of who may, and listings, by what Amazon's clients and Google's own send."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from google.cloud import storage
from tests.services.storage.test_amazon_signatures import PROJECT, Signer, bucket, key, signer, someone, texts
from tests.services.storage.test_signed_urls import code

__all__ = ["bucket", "key", "signer", "someone"]


@pytest.fixture
def google(bucket: str) -> Any:
    return storage.Client(PROJECT).bucket(bucket)


def put(signer: Signer, bucket: str, part: str, body: str) -> requests.Response:
    return signer.send("PUT", f"/{bucket}", {part: ""}, body.encode())


def shown(signer: Signer, bucket: str, part: str) -> str:
    answer = signer.send("GET", f"/{bucket}", {part: ""})
    assert answer.status_code == 200, answer.text
    return answer.text.partition("?>")[2].replace(" xmlns='http://s3.amazonaws.com/doc/2006-03-01/'", "")


PARTS = {
    "versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "billing": "<BillingConfiguration><RequesterPays>Enabled</RequesterPays></BillingConfiguration>",
    "storageClass": "<StorageClass>NEARLINE</StorageClass>",
    "tagging": "<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>",
    "websiteConfig": "<WebsiteConfiguration><MainPageSuffix>i.html</MainPageSuffix>"
    "<NotFoundPage>404.html</NotFoundPage></WebsiteConfiguration>",
    "logging": "<Logging><LogBucket>logs</LogBucket><LogObjectPrefix>a</LogObjectPrefix></Logging>",
    "cors": "<CorsConfig><Cors><Origins><Origin>https://a.example</Origin></Origins><Methods><Method>GET</Method>"
    "<Method>PUT</Method></Methods><ResponseHeaders><ResponseHeader>x-a</ResponseHeader></ResponseHeaders>"
    "<MaxAgeSec>60</MaxAgeSec></Cors></CorsConfig>",
    "lifecycle": "<LifecycleConfiguration><Rule><Action><Delete/></Action><Condition><Age>30</Age>"
    "<IsLive>true</IsLive></Condition></Rule><Rule><Action><SetStorageClass>COLDLINE</SetStorageClass></Action>"
    "<Condition><MatchesPrefix>a</MatchesPrefix><MatchesPrefix>b</MatchesPrefix></Condition></Rule>"
    "</LifecycleConfiguration>",
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_metadata_is_put_and_got(part: str, signer: Signer, bucket: str) -> None:
    before = shown(signer, bucket, part)
    assert before != PARTS[part]
    assert put(signer, bucket, part, PARTS[part]).status_code == 200
    assert shown(signer, bucket, part) == PARTS[part]
    root = ElementTree.fromstring(PARTS[part]).tag
    if part in ("cors", "lifecycle", "logging", "tagging", "websiteConfig"):  # an empty one takes it away
        assert put(signer, bucket, part, f"<{root}/>").status_code == 200
        assert shown(signer, bucket, part) == before
    assert code(put(signer, bucket, part, "<Other/>")) == (400, "MalformedXML")


def test_the_json_api_sees_the_same(signer: Signer, google: Any) -> None:
    for part, body in PARTS.items():
        assert put(signer, google.name, part, body).status_code == 200
    google.reload()
    assert google.versioning_enabled and google.requester_pays and google.storage_class == "NEARLINE"
    assert google.labels == {"team": "blue"}
    assert google.cors == [
        {
            "origin": ["https://a.example"],
            "method": ["GET", "PUT"],
            "responseHeader": ["x-a"],
            "maxAgeSeconds": 60,
        }
    ]
    assert [dict(rule) for rule in google.lifecycle_rules] == [
        {"action": {"type": "Delete"}, "condition": {"age": 30, "isLive": True}},
        {
            "action": {"type": "SetStorageClass", "storageClass": "COLDLINE"},
            "condition": {"matchesPrefix": ["a", "b"]},
        },
    ]


def test_what_a_bucket_does_not_have_is_said(signer: Signer, bucket: str) -> None:
    suspended = "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>"
    assert code(put(signer, bucket, "versioning", suspended)) == (400, "MalformedXML")
    amazons = (
        "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status></Rule></LifecycleConfiguration>"
    )
    answer = put(signer, bucket, "lifecycle", amazons)
    assert code(answer) == (400, "MalformedXML") and "not ID" in answer.text
    assert code(signer.send("GET", f"/{bucket}", {"object-lock": ""})) == (
        404, "ObjectLockConfigurationNotFoundError",
    )  # fmt: skip
    website = signer.send("GET", f"/{bucket}", {"website": ""})
    assert code(website) == (501, "NotImplemented") and "?websiteConfig" in website.text
    for part in ("policy", "notification", "replication"):
        assert code(signer.send("GET", f"/{bucket}", {part: ""})) == (501, "NotImplemented")
    assert code(signer.send("GET", f"/{bucket}/o", {"tagging": ""})) == (501, "NotImplemented")


def test_generations_are_listed_got_copied_and_deleted(signer: Signer, google: Any) -> None:
    google.versioning_enabled = True
    google.patch()
    for text in ("one", "two"):
        google.blob("a").upload_from_string(text)
    google.blob("b").upload_from_string("three")
    path = f"/{google.name}"
    answer = signer.send("GET", path, {"versions": ""})
    assert texts(answer, "Version/Key") == ["a", "a", "b"]
    assert texts(answer, "Version/IsLatest") == ["false", "true", "true"]
    ids = [str(one) for one in texts(answer, "Version/VersionId")]
    found, params = [], {"versions": "", "max-keys": "1"}
    while True:
        answer = signer.send("GET", path, params)
        found += texts(answer, "Version/VersionId")
        if texts(answer, "IsTruncated") == ["false"]:
            break
        params["key-marker"] = str(texts(answer, "NextKeyMarker")[0])
        params["version-id-marker"] = str(texts(answer, "NextVersionIdMarker")[0])
    assert found == ids
    first = signer.send("GET", f"{path}/a", {"versionId": ids[0]})
    assert (first.text, first.headers["x-amz-version-id"]) == ("one", ids[0])
    copied = signer.send("PUT", f"{path}/c", x_amz_copy_source=f"{google.name}/a?versionId={ids[0]}")
    assert copied.status_code == 200 and google.blob("c").download_as_text() == "one"
    body = f"<Delete><Object><Key>a</Key><VersionId>{ids[0]}</VersionId></Object></Delete>"
    answer = signer.send("POST", path, {"delete": ""}, body.encode())
    assert texts(answer, "Deleted/VersionId") == [ids[0]]
    assert signer.send("DELETE", f"{path}/a", {"versionId": ids[1]}).status_code == 204
    answer = signer.send("GET", path, {"versions": "", "prefix": "a"})
    assert texts(answer, "Version/Key") == []
    assert code(signer.send("GET", path, {"versions": "", "version-id-marker": "1"}))[0] == 400


def test_uploads_that_are_not_finished_are_listed(signer: Signer, bucket: str) -> None:
    for name in ("a/1", "a/2", "b", "b"):
        assert signer.send("POST", f"/{bucket}/{name}", {"uploads": ""}).status_code == 200
    path = f"/{bucket}"
    answer = signer.send("GET", path, {"uploads": ""})
    assert texts(answer, "Upload/Key") == ["a/1", "a/2", "b", "b"]
    ids = texts(answer, "Upload/UploadId")
    found, params = [], {"uploads": "", "max-uploads": "1"}
    while True:
        answer = signer.send("GET", path, params)
        found += texts(answer, "Upload/UploadId")
        if texts(answer, "IsTruncated") == ["false"]:
            break
        params["key-marker"] = str(texts(answer, "NextKeyMarker")[0])
        params["upload-id-marker"] = str(texts(answer, "NextUploadIdMarker")[0])
    assert found == ids
    answer = signer.send("GET", path, {"uploads": "", "delimiter": "/"})
    assert (texts(answer, "CommonPrefixes/Prefix"), texts(answer, "Upload/Key")) == (["a/"], ["b", "b"])
    assert signer.send("DELETE", f"{path}/b", {"uploadId": str(ids[3])}).status_code == 204
    assert texts(signer.send("GET", path, {"uploads": "", "prefix": "b"}), "Upload/UploadId") == [ids[2]]


GRANTS = """<AccessControlPolicy><AccessControlList>
<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="AmazonCustomerByEmail">
<EmailAddress>a@b.example</EmailAddress></Grantee><Permission>FULL_CONTROL</Permission></Grant>
<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group">
<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>
</AccessControlList></AccessControlPolicy>"""
ENTRIES = """<AccessControlList><Entries><Entry><Scope type='UserByEmail'><EmailAddress>c@d.example</EmailAddress>
</Scope><Permission>FULL_CONTROL</Permission></Entry><Entry><Scope type='GroupByDomain'><Domain>d.example</Domain>
</Scope><Permission>READ</Permission></Entry></Entries></AccessControlList>"""


def test_lists_of_who_may_are_put_and_got(portico: Any, signer: Signer, google: Any) -> None:
    google.blob("o").upload_from_string("x")
    for path in (f"/{google.name}", f"/{google.name}/o"):
        assert signer.send("PUT", path, {"acl": ""}, GRANTS.encode()).status_code == 200
        answer = signer.send("GET", path, {"acl": ""})
        granted = texts(answer, "AccessControlList/Grant/Permission")
        assert granted == ["READ", "FULL_CONTROL"] if path.count("/") == 1 else ["FULL_CONTROL", "READ"]
        assert "groups/global/AllUsers" in answer.text and "a@b.example" in answer.text
        url = f"{portico.url}{path}?acl"  # in Google's words where the request is not signed in Amazon's
        assert requests.put(url, ENTRIES.encode(), timeout=240).status_code == 200
        answer = requests.get(url, timeout=240)
        assert (
            "GroupByDomain" in answer.text and "c@d.example" in answer.text and "AllUsers" not in answer.text
        )
    assert signer.send("PUT", f"/{google.name}/o", {"acl": ""}, x_amz_acl="public-read").status_code == 200
    assert "allUsers" in [entry["entity"] for entry in google.blob("o").acl]
    assert code(signer.send("PUT", f"/{google.name}/o", {"acl": ""}, GRANTS.replace("READ", "SEE").encode())) == (
        400, "MalformedXML",
    )  # fmt: skip
    google.iam_configuration.uniform_bucket_level_access_enabled = True
    google.patch()
    answer = signer.send("GET", f"/{google.name}/o", {"acl": ""})
    assert code(answer)[0] == 400 and "uniform bucket-level access" in answer.text


def test_a_copy_wants_its_source_to_be_as_told(signer: Signer, google: Any) -> None:
    google.blob("a").upload_from_string("x")
    path, source = f"/{google.name}/b", f"{google.name}/a"
    tag = signer.send("HEAD", f"/{source}").headers["etag"]
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))

    def copy(**more: str) -> tuple[int, str]:
        return code(signer.send("PUT", path, x_amz_copy_source=source, **more))

    assert copy(x_amz_copy_source_if_match='"other"') == (412, "PreconditionFailed")
    assert copy(x_amz_copy_source_if_none_match=tag) == (412, "PreconditionFailed")
    assert copy(x_amz_copy_source_if_modified_since=now) == (412, "PreconditionFailed")
    assert google.get_blob("b") is None
    answer = signer.send("PUT", path, x_amz_copy_source=source, x_amz_copy_source_if_match=tag)
    assert answer.status_code == 200
    assert copy(x_amz_copy_source_if_generation_match="1")[0] == 412


def test_what_is_there_is_not_written_over_by_who_asks_so(signer: Signer, bucket: str) -> None:
    path = f"/{bucket}/o"
    assert signer.send("PUT", path, body=b"one", if_none_match="*").status_code == 200
    assert code(signer.send("PUT", path, body=b"two", if_none_match="*")) == (412, "PreconditionFailed")
    assert code(signer.send("PUT", path, body=b"two", if_match='"a"')) == (501, "NotImplemented")
    assert signer.send("GET", path).text == "one"


def test_several_are_composed(portico: Any, google: Any) -> None:
    for name in ("a", "b"):
        google.blob(name).upload_from_string(name)
    url = f"{portico.url}/{google.name}/c?compose"
    both = "<Component><Name>a</Name></Component><Component><Name>b</Name>{}</Component>"
    body = f"<ComposeRequest>{both}</ComposeRequest>"
    answer = requests.put(url, body.format(""), headers={"content-type": "text/plain"}, timeout=240)
    assert answer.status_code == 200, answer.text
    made = google.get_blob("c")
    assert (made.download_as_text(), made.component_count, made.content_type) == ("ab", 2, "text/plain")
    wrong = body.format("<IfGenerationMatch>1</IfGenerationMatch>")
    assert code(requests.put(url, wrong, timeout=240)) == (412, "PreconditionFailed")
    assert code(requests.put(url, body.format("<Other/>"), timeout=240)) == (400, "MalformedXML")
