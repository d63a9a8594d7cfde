"""Identity and Access Management."""

from portico.services.standard.apis import Api

API = Api(name="iam", versions=("v1",), title="Identity and Access Management (`iam` v1)")
