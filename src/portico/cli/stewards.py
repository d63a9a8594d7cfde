"""`portico apply`, `diff`, `get`, `delete`, `replay`, `approve`, `reject`, `roll-back`: stewards, triggers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from portico.client import declaration
from portico.client.api import Client


def applied(home: Path, file: Path, tell: Callable[[str], None] = lambda words: None) -> str:
    """Applies a file; says in words what became of it. `tell` hears what is being made meanwhile."""
    declared = declaration.load(file)

    def made(words: str) -> None:
        print(words, flush=True)
        tell(words)

    tell(f"applying {file.name}")
    outcome, changes = declaration.apply(_client(home), declared, made)
    return "\n".join(
        [f"{declared.kind.lower()} {declared.name}: {outcome}", *(f"  {change}" for change in changes)]
    )


def diffed(home: Path, file: Path) -> list[str]:
    """What applying a file would change, a line each."""
    client, declared = _client(home), declaration.load(file)
    made = [f"+ {words}" for words in declaration.missing(client, declared)]
    if made:
        return [*made, f"+ steward {declared.name}"]
    _, found = declaration.differences(client, declared)
    if found is None:
        return [f"+ {declared.kind.lower()} {declared.name}"]
    return [str(change) for change in found]


def found(home: Path, name: str) -> Any:
    """A steward, an episode, all stewards ("" or "stewards"), or all of a steward ("STEWARD/episodes", "…/alerts")."""
    client = _client(home)
    if name in ("", "stewards"):
        return client.stewards()
    if "/" not in name:
        return client.steward(name)
    if name.endswith("/episodes"):
        return client.episodes(name.removesuffix("/episodes"))
    if name.endswith("/alerts"):
        return client.alerts(name.removesuffix("/alerts"))
    return client.episode(episode_name(client, name))


def deleted(home: Path, name: str) -> str:
    """Deletes a steward, or "triggers/TRIGGER"; says which of them it was."""
    client = _client(home)
    if "triggers/" in name:
        client.call("DELETE", client.trigger_name(name.removeprefix("triggers/")))
        return "trigger"
    client.delete_steward(name)
    return "steward"


def replayed(home: Path, name: str) -> dict[str, Any]:
    client = _client(home)
    return client.replay(episode_name(client, name))


def decided(home: Path, name: str, verdict: str, comment: str) -> dict[str, Any]:
    """`verdict` is "approve", "reject" or "roll_back"."""
    client = _client(home)
    acts = {"approve": client.approve, "reject": client.reject, "roll_back": client.roll_back}
    return acts[verdict](episode_name(client, name), comment)


def episode_name(client: Client, name: str) -> str:
    """The resource name of an episode that is given by it, or as STEWARD/EPISODE."""
    if name.startswith("projects/"):
        return name
    steward, _, episode = name.removeprefix("stewards/").partition("/")
    return f"{client.steward_name(steward)}/episodes/{episode.removeprefix('episodes/')}"


def as_text(value: Any) -> str:
    """Stewards and episodes in lines for people."""
    if isinstance(value, list):
        return "\n".join(_line(one) for one in value) or "none"
    lines = [_line(value)]
    if run := value.get("pipelineJob"):
        lines.append(f"  trained by the pipeline run {run.rpartition('/')[2]}")
    if pipeline := (value.get("training") or {}).get("pipeline"):
        named = ((pipeline.get("pipelineSpec") or {}).get("pipelineInfo") or {}).get("name")
        lines.append(f"  retrains by the pipeline {pipeline.get('templateUri') or named}")
    for one in value.get("status", {}).get("acceptable", []):
        bounds = "" if "interval" not in one else f" ({one['interval'][0]:.4g} to {one['interval'][1]:.4g})"
        holds = "holds" if one["holds"] else "BROKEN"
        lines.append(f"  {one['metric']}: {one['value']:.4g}{bounds}, acceptable {one['limit']:.4g}: {holds}")
    lines += _watched(value.get("status", {}))
    lines += [
        f"  {t['time'][:16].replace('T', ' ')}  {t['state']:<18} {t['reason']}"
        for t in value.get("transitions", [])
    ]
    return "\n".join(lines)


def _watched(status: dict[str, Any]) -> list[str]:
    """What a steward has seen beside what is acceptable."""
    lines = [
        f"  {one['metric']}: estimated at {one['value']:.4g} before labels, over {one['rows']} predictions"
        for one in status.get("estimates", [])
    ]
    lines += [f"  {one['slice']}: {one['value']:.4g}, worse than the rest" for one in status.get("slices", [])
              if one.get("worse")]  # fmt: skip
    for one in status.get("observations", [])[:5]:
        lines.append(f"  {one['startTime'][:10]} to {one.get('endTime', 'now')[:10]}: {one['message']}")
    return lines


def replay_text(answer: dict[str, Any]) -> str:
    lines = [
        f"{'same' if d['agrees'] else 'DIFFERS':<8} {d['question']:<9} {d['recorded']:<10} {d['reason']}"
        for d in answer.get("decisions", [])
    ]
    verdict = (
        "Every decision comes out as recorded."
        if answer.get("agrees")
        else "Not every decision comes out as recorded."
    )
    return "\n".join([*lines, verdict])


def _line(one: dict[str, Any]) -> str:
    short = one["name"].partition("/stewards/")[2]
    if "/episodes/" in one["name"]:
        ended = one.get("endTime", "")[:10] or "open"
        return f"{short}  {one['startTime'][:10]} to {ended}  {one['state']}: {one.get('reason', '')}"
    if "/alerts/" in one["name"]:
        value = f"{one['metric']} {one['value']:.4g}, {one['limit']:.4g} is acceptable. {one.get('kind', '')}"
        return (
            f"{short}  {one['openTime'][:10]} to {one.get('closeTime', 'now')[:10]}  {one['state']}: {value}"
        )
    return f"{short}  {one['state']}  {one.get('status', {}).get('message', '')}"


def _client(home: Path) -> Client:
    return Client(home=home)
