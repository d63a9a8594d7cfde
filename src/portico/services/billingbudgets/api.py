"""Cloud Billing's budgets."""

from portico.services.standard.apis import Api

API = Api(
    name="billingbudgets",
    versions=("v1",),
    title="Cloud Billing budgets (`billingbudgets` v1)",
    note="A billing account is a name: whichever is used is there, and all projects of the server are billed to it.",
    collections=("budgets",),
    message="GoogleCloudBillingBudgets{Version}{message}",
    required={"billingAccounts.budgets.create": ("amount",)},
)
