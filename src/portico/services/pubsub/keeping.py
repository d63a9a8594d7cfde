"""What subscriptions and snapshots keep no longer, and those that have expired."""

from __future__ import annotations

from portico.clock import Clock, parse_rfc3339
from portico.services.pubsub.snapshots import SNAPSHOTS
from portico.services.pubsub.subscriptions import SUBSCRIPTIONS
from portico.services.standard import policies
from portico.store import resources
from portico.store.database import Database
from portico.store.pubsub import deliveries, topics


def sweep(database: Database, clock: Clock) -> None:
    """Removes them."""
    now = clock.now()
    with database.write() as connection:
        kept = []
        ends = {
            one.name: parse_rfc3339(one.body["expireTime"])
            for one in resources.listed(connection, SNAPSHOTS.kind)
        }
        for one in topics.listed(connection):
            ttl = one.settings.ttl
            idle = bool(ttl) and not one.settings.pushed and one.used + ttl < now
            if idle or ends.get(one.name, now) < now:
                topics.delete_subscription(connection, one.name)
                policies.drop(connection, SUBSCRIPTIONS.api, one.name)
                resources.delete(connection, one.name)
            else:
                kept.append(one)
        deliveries.sweep(connection, kept, now)
