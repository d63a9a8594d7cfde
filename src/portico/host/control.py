"""The control process: every door and service but the prediction fast path."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from portico.clock import SystemClock
from portico.doors.contract.documents import Contract
from portico.doors.http.app import Door
from portico.doors.identity import Identity
from portico.host.address import Address
from portico.host.asked import Asked
from portico.host.certificate import certificate_file
from portico.host.pages import pages
from portico.host.wiring import make_rooms
from portico.prediction.front.guard import Guard
from portico.services.iam.decide import Permissions
from portico.services.iam.permit import Permit
from portico.warehouse.client import keeper_path
from portico.warehouse.keeper import Keeper


def make_door(home: Path, contract: Contract, names: tuple[str, ...] = ()) -> Door:
    rooms = make_rooms(home, contract)
    permissions = Permissions(home, rooms.database, rooms.clock)
    rooms.permissions = permissions
    permit = Permit(rooms.database, permissions)
    return Door(rooms, contract, Identity(home, SystemClock()), permit, Guard(frozenset(names)), pages(home))


def main(
    home: Path, contract: Contract, by_grpc: socket.socket, here: Address, warehouse_memory: str | None
) -> None:
    """Serves connections that the fronts hand over, and those of gRPC's port, until SIGTERM."""
    from portico.doors.connections import serve_control
    from portico.doors.grpc.listener import Listener

    threading.Thread(
        target=keep_warehouse, args=(home, warehouse_memory), name="warehouse", daemon=True
    ).start()
    door = make_door(home, contract, here.names)
    listener = Listener(home, by_grpc, certificate_file(home), door.dispatch, contract, here.auth)
    serve_control(door, home, listener)


def keep_warehouse(home: Path, memory: str | None = None) -> None:
    """Starts the warehouse, whose engine may hold so much `memory`, when somebody wants it."""
    keeper = Keeper(home, memory)
    with Asked(keeper_path(home)) as asked:
        while True:
            if asked.wait(3600):
                if keeper.start():
                    asked.answer()
                else:
                    asked.refuse()
