"""CREATE and DROP of row access policies, as statements."""

from __future__ import annotations

from portico.errors import NotFound, Unimplemented
from portico.warehouse import access, catalog, guard
from portico.warehouse.asked import Done
from portico.warehouse.catalog import Entry
from portico.warehouse.indexes import Indexes
from portico.warehouse.tokens import Tokens


class Policies(Indexes):
    """A statement about who sees which rows."""

    def create_policy(self, tokens: Tokens) -> Done:
        if _of_index(tokens):
            return self.create_index(tokens)
        policy, path, replace, exists_ok = access.read_creation(tokens)
        entry = self._governed(path, "create")
        if entry.storage:
            self.check_policy(entry, policy["filterPredicate"])
        if not self._asked.dry:
            access.write(self._cursor, entry, policy, replace=replace, exists_ok=exists_ok)
        return Done("CREATE_ROW_ACCESS_POLICY", target=entry, operation="CREATE")

    def drop_policy(self, tokens: Tokens) -> Done:
        if _of_index(tokens):
            return self.drop_index(tokens)
        if not (tokens.sees("DROP", "ROW") or tokens.sees("DROP", "ALL")):
            raise Unimplemented("This DROP statement is not built in Portico yet.")
        name, path, exists_ok = access.read_drop(tokens)
        entry = self._governed(path, "delete")
        kind = "DROP_ROW_ACCESS_POLICY" if name else "DROP_ALL_ROW_ACCESS_POLICIES"
        for one in [name] if name else [each["policyId"] for each in access.policies(entry)]:
            try:
                if not self._asked.dry:
                    access.drop(self._cursor, entry, one)
            except NotFound:
                if not exists_ok:
                    raise
                return Done(kind, target=entry, operation="SKIP")
        return Done(kind, target=entry, operation="DROP")

    def _governed(self, path: list[str], verb: str) -> Entry:
        key = catalog.key_of(self._named(path))
        guard.need(*key, *(f"bigquery.rowAccessPolicies.{one}" for one in (verb, "setIamPolicy")))
        return catalog.require(self._cursor, *key)


def _of_index(tokens: Tokens) -> bool:
    ahead = 3 if tokens.sees(tokens.word(), "OR", "REPLACE") else 1
    return tokens.word(ahead) in ("SEARCH", "VECTOR")
