"""Pub/Sub."""

from portico.services.standard.apis import Api, Grpc, Rpc

_EMPTY, _IAM = "google.protobuf.Empty", "google.iam.v1"


def _policies(verb: str, answer: str) -> Rpc:
    name = verb[0].upper() + verb[1:]
    return Rpc(f"{_IAM}.{name}Request", f"{_IAM}.{answer}", method=f"projects.{{collection}}.{verb}")


def _of(collection: str, **rpcs: tuple[str, str, str]) -> dict[str, Rpc]:
    """By name: the request, the answer, and what the document calls the method."""
    return {
        name: Rpc(request, response, method=f"projects.{collection}.{verb}")
        for name, (request, response, verb) in rpcs.items()
    }


_PUBLISHER = _of(
    "topics",
    CreateTopic=("Topic", "Topic", "create"),
    UpdateTopic=("UpdateTopicRequest", "Topic", "patch"),
    Publish=("PublishRequest", "PublishResponse", "publish"),
    GetTopic=("GetTopicRequest", "Topic", "get"),
    ListTopics=("ListTopicsRequest", "ListTopicsResponse", "list"),
    ListTopicSubscriptions=(
        "ListTopicSubscriptionsRequest",
        "ListTopicSubscriptionsResponse",
        "subscriptions.list",
    ),
    ListTopicSnapshots=("ListTopicSnapshotsRequest", "ListTopicSnapshotsResponse", "snapshots.list"),
    DeleteTopic=("DeleteTopicRequest", _EMPTY, "delete"),
) | _of(
    "subscriptions", DetachSubscription=("DetachSubscriptionRequest", "DetachSubscriptionResponse", "detach")
)
_SUBSCRIBER = _of(
    "subscriptions",
    CreateSubscription=("Subscription", "Subscription", "create"),
    GetSubscription=("GetSubscriptionRequest", "Subscription", "get"),
    UpdateSubscription=("UpdateSubscriptionRequest", "Subscription", "patch"),
    ListSubscriptions=("ListSubscriptionsRequest", "ListSubscriptionsResponse", "list"),
    DeleteSubscription=("DeleteSubscriptionRequest", _EMPTY, "delete"),
    ModifyAckDeadline=("ModifyAckDeadlineRequest", _EMPTY, "modifyAckDeadline"),
    Acknowledge=("AcknowledgeRequest", _EMPTY, "acknowledge"),
    Pull=("PullRequest", "PullResponse", "pull"),
    ModifyPushConfig=("ModifyPushConfigRequest", _EMPTY, "modifyPushConfig"),
    Seek=("SeekRequest", "SeekResponse", "seek"),
) | _of(
    "snapshots",
    GetSnapshot=("GetSnapshotRequest", "Snapshot", "get"),
    ListSnapshots=("ListSnapshotsRequest", "ListSnapshotsResponse", "list"),
    CreateSnapshot=("CreateSnapshotRequest", "Snapshot", "create"),
    UpdateSnapshot=("UpdateSnapshotRequest", "Snapshot", "patch"),
    DeleteSnapshot=("DeleteSnapshotRequest", _EMPTY, "delete"),
)

API = Api(
    name="pubsub",
    versions=("v1",),
    title="Pub/Sub (`pubsub` v1)",
    collections=("topics", "subscriptions", "snapshots", "publishing", "pulling", "streaming"),
    required={
        "projects.topics.publish": ("messages",),
        "projects.subscriptions.create": ("topic",),
        "projects.subscriptions.acknowledge": ("ackIds",),
        "projects.subscriptions.modifyAckDeadline": ("ackIds",),
        "projects.snapshots.create": ("subscription",),
        "projects.topics.patch": ("topic", "updateMask"),
        "projects.subscriptions.patch": ("subscription", "updateMask"),
        "projects.snapshots.patch": ("snapshot", "updateMask"),
    },
    grpc=Grpc(
        package="google.pubsub.v1",
        client="google.pubsub_v1",
        rpcs={
            **{f"Publisher.{name}": rpc for name, rpc in _PUBLISHER.items()},
            **{f"Subscriber.{name}": rpc for name, rpc in _SUBSCRIBER.items()},
            "Subscriber.StreamingPull": Rpc("StreamingPullRequest", "StreamingPullResponse", "both"),
            f"{_IAM}.IAMPolicy.GetIamPolicy": _policies("getIamPolicy", "Policy"),
            f"{_IAM}.IAMPolicy.SetIamPolicy": _policies("setIamPolicy", "Policy"),
            f"{_IAM}.IAMPolicy.TestIamPermissions": _policies(
                "testIamPermissions", "TestIamPermissionsResponse"
            ),
        },
    ),
)
