"""Processes as tests look at them: one that has ended meanwhile is no error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil


def found(pids: Iterable[int]) -> list[psutil.Process]:
    """Those of `pids` that are there."""
    there = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            there.append(psutil.Process(pid))
    return there


def running(pids: Iterable[int], word: str) -> list[psutil.Process]:
    """Those of `pids` that are alive and have `word` in their command."""
    return [one for one in found(pids) if alive(one.pid) and word in " ".join(command(one))]


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def name(process: psutil.Process) -> str:
    """The process's name; "" when it is gone."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def alive(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def moves(process: psutil.Process) -> bool:
    """Whether it is there and not stopped."""
    try:
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
