"""Policy Troubleshooter."""

from portico.services.standard.apis import Api

API = Api(
    name="policytroubleshooter",
    versions=("v1",),
    title="Policy Troubleshooter (`policytroubleshooter` v1)",
    collections=("troubleshoot",),
    required={
        "iam.troubleshoot": (
            "accessTuple.principal",
            "accessTuple.fullResourceName",
            "accessTuple.permission",
        )
    },
)
