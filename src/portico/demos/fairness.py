"""Fairness, on the census of 1994: what groups get, what it costs to change that, and a gate that holds it.

Run it with `portico exec -- python fairness.py`. Two models learn who earned more than $50,000: one as AutoML does
it, one on rows that were reweighed so that sex and income are independent in them. The second is deployed, and a
steward looks after it. It is less accurate, so the steward's limit of logLoss breaks, and a challenger is trained on
everyone whose income is known by then; but nobody made weights for the newcomers. The gates decide.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.cloud import aiplatform
from rich.table import Table

import portico
from portico.cli import report
from portico.client import declaration
from portico.demos import mitigation, pictures, telling
from portico.demos.mitigation import ODDS, OPPORTUNITY, PARITY, Made
from portico.demos.telling import console, gates_of, progress, say, step, verdict
from portico.ml.measure import performance
from portico.sandbox import samples

TARGET, RICH = "income", ">50K"
NUMBERS = ["age", "capital_gain", "capital_loss", "hours_per_week"]
WORDS = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex",
         "native_country"]  # fmt: skip
FEATURES = [*NUMBERS, *WORDS]
WEIGHT = "weight"
# People: known at first, kept to measure on, and who comes later.
LEARNED, HELD, LATER = 4_000, 10_000, 20_000
MINIMUM = 100  # of a group that is judged
BUDGET = 6  # milli node hours: 22 seconds
START = "1995-01-01T00:00:00Z"
A_DAY, LATE, REQUEST = 1_000, 3, 250  # people a day; days until their income is known; people of one request
STEWARD = Path(__file__).with_name("census.yaml")


def main(out: Path) -> None:
    client = telling.begin(START)
    people = pd.read_csv(samples.path("census")).reset_index(names="id")
    people["rich"] = (people[TARGET] == RICH).astype(float)
    learn, held = people[:LEARNED].copy(), people[LEARNED : LEARNED + HELD]
    later = people[LEARNED + HELD : LEARNED + HELD + LATER]
    learn[WEIGHT] = mitigation.reweighing(learn["sex"], learn[TARGET])
    console.print(
        f"{len(people):,} people of the census of 1994: who earned more than $50,000?\n"
        f"  The first {LEARNED:,} are learned, {HELD:,} are kept to measure on, {LATER:,} come later.\n"
    )
    bucket = f"census-{int(time.time())}"
    with step(f"uploaded them to gs://{bucket}"):
        columns = ["id", *FEATURES, TARGET]
        telling.upload(bucket, {"learn.csv": learn[[*columns, WEIGHT]], "held.csv": held[columns]})
    with step("made a dataset of those known at first"):
        dataset = aiplatform.TabularDataset.create(
            display_name="census", gcs_source=f"gs://{bucket}/learn.csv"
        )
    truth = held["rich"].to_numpy()
    plain = train(dataset, "census-unmitigated", "a model as AutoML makes it")
    scores = {"unmitigated": predicted(plain, bucket, "held", held)}
    found = {"unmitigated": groups(held, truth, scores["unmitigated"])}
    show_groups(found["unmitigated"], "As AutoML makes it")

    model = train(dataset, "census", "a model on reweighed rows", weight_column=WEIGHT)
    scores["reweighed"] = predicted(model, bucket, "held", held)
    found["reweighed"] = groups(held, truth, scores["reweighed"])
    show_groups(found["reweighed"], "From reweighed rows")
    show_gaps(found)
    prices = what_it_costs(learn, held, truth, scores)
    show_prices(prices)
    made = {name: quality(truth, one) for name, one in scores.items()}
    losses = [one["logLoss"]["value"] for one in made.values()]
    say(f"In logLoss it goes from {losses[0]:.3f} to {losses[1]:.3f}.\n")
    with step("deployed the reweighed model to an endpoint"):
        endpoint = aiplatform.Endpoint.create(display_name="census")
        endpoint.deploy(model, machine_type="n1-standard-2")
    episode, known, status = live(client, endpoint, later)
    decided = show_episode(client, episode, status)
    remedy = None
    if gates_of(episode):
        remedy = weighed_again(model, bucket, learn, known, episode)
        show_remedy(remedy)
    results = {
        "groups": found,
        "scores": made,
        "mitigation": prices,
        "episode": decided,
        "remedy": remedy,
    }
    (out / "results.json").write_text(json.dumps(results, indent=2))
    picture = pictures.fairness(prices, gates_of(episode), remedy, out / "fairness.png")
    with step("portico report census: the model's card and its history"):
        card, _ = report.write(client, model.resource_name, out)
    console.print(f"The picture of it: {picture}\nThe report:        {card}")


# --- the models ---


def train(dataset: aiplatform.TabularDataset, name: str, what: str, **options: Any) -> aiplatform.Model:
    columns = {column: "numeric" if column in NUMBERS else "categorical" for column in FEATURES}
    return telling.classifier(dataset, name, what, BUDGET, TARGET, columns, **options)


def predicted(model: aiplatform.Model, bucket: str, name: str, people: pd.DataFrame) -> np.ndarray:
    """One batch job: how likely each of `people`, who are in `name`.csv, earned more."""
    with step(f"predicted {len(people):,} people in a batch job"):
        found = telling.batch_scores(model, bucket, f"{name}.csv", RICH)
    return people["id"].map(found).to_numpy(float)


def quality(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    order = np.arange(len(truth), dtype=float)
    made = {
        name: performance.measure(name, truth, _both(scores), order).to_json()
        for name in ("logLoss", "auRoc")
    }
    return {**made, "accuracy": float(((scores >= 0.5) == truth).mean())}


def _both(scores: np.ndarray) -> np.ndarray:
    return np.stack([1 - scores, scores], axis=1)


# --- groups ---

GROUPED = (["sex"], ["race"], ["sex", "race"])


def groups(people: pd.DataFrame, truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """By each of `GROUPED`: the rates of its groups, the gaps between them, and who is too few to judge."""
    made = {}
    for attributes in GROUPED:
        found = mitigation.fairness_of(people, truth, scores, attributes, MINIMUM)
        made[",".join(attributes)] = {
            "rates": mitigation.rates_with_intervals(people, truth, scores, attributes, MINIMUM),
            "small": found.small,
            "gaps": {name: gap.to_json() for name, gap in found.gaps.items()},
        }
    return made


def show_groups(found: dict[str, Any], title: str) -> None:
    table = telling.table(f"{title}: what {HELD:,} people get, in percent (95% interval)")
    table.add_column("group")
    for words in ("people", *mitigation.RATES.values()):
        table.add_column(words, justify="right")
    for by in found.values():
        for group, row in by["rates"].items():
            table.add_row(
                _plain(group), f"{row['rows']:,}", *(_rate(row.get(rate)) for rate in mitigation.RATES)
            )
        table.add_section()
    console.print(table)
    small = sum(found["sex,race"]["small"].values())
    console.print(f"  [dim]{small} people of groups of fewer than {MINIMUM} are counted and not judged.[/]\n")


def show_gaps(found: dict[str, dict[str, Any]]) -> None:
    table = telling.table("The gaps between groups (± half of the 95% interval)")
    for words in ("gap", "between", *found):
        table.add_column(words)
    for name in (PARITY, OPPORTUNITY):
        for attributes in GROUPED:
            by = ",".join(attributes)
            gaps = [of[by]["gaps"][name] for of in found.values()]
            table.add_row(
                name,
                " and ".join(attributes),
                *(telling.with_half(gap["value"], gap["interval"]) for gap in gaps),
            )
        table.add_section()
    console.print(table)
    for name in (PARITY, OPPORTUNITY):
        said = [
            f"{words}: {_plain(gap['high'])} over {_plain(gap['low'])}"
            for words, of in found.items()
            for gap in [of["sex"]["gaps"][name]]
        ]
        say(f"{'Selected' if name == PARITY else 'True positive rate'}, {'; '.join(said)}.")
    console.print()


def _rate(rate: dict[str, Any] | None) -> str:
    if rate is None:
        return "–"
    low, high = rate["interval"]
    return f"{100 * rate['value']:.0f} [dim]({100 * low:.0f}–{100 * high:.0f})[/]"


def _interval(found: dict[str, Any]) -> str:
    return "–" if found["interval"] is None else "{:.3f} to {:.3f}".format(*found["interval"])


def _plain(group: str) -> str:
    for long, short in (("sex=", ""), ("race=", ""), (", ", " "), ("Asian-Pac-Islander", "Asian-Pacific")):
        group = group.replace(long, short)
    return group


# --- what mitigation costs ---


def what_it_costs(
    learn: pd.DataFrame, held: pd.DataFrame, truth: np.ndarray, scores: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The served models and fairlearn's, each beside its own kind without mitigation."""
    words = "mitigated LightGBM with fairlearn, by two methods and several bounds"
    with step(words) as status:
        others = mitigation.mitigate(
            learn,
            held,
            FEATURES,
            learn["rich"].to_numpy(int),
            "sex",
            told=lambda w: status.update(f"{words} {w}"),
        )
    decisions = {name: (found >= 0.5).astype(float) for name, found in scores.items()}
    sexes = [f"sex={one}" for one in held["sex"]]
    served = [Made("AutoML", "", None, decisions["unmitigated"]),
              Made("AutoML, reweighed", PARITY, None, decisions["reweighed"])]  # fmt: skip
    rows = []
    for made in served:
        row = mitigation.cost_row(made, truth, sexes, decisions["unmitigated"], MINIMUM)
        rows.append({**row, "served": True})
    for made in others:
        row = mitigation.cost_row(made, truth, sexes, others[0].decisions, MINIMUM)
        rows.append({**row, "served": False})
    return rows


def show_prices(rows: list[dict[str, Any]]) -> None:
    table = telling.table(f"What it costs: accuracy, and the gaps between the sexes, of {HELD:,} people")
    for words in ("model", "asked for"):
        table.add_column(words)
    for words in ("accuracy", "cost in points", "parity", "odds"):
        table.add_column(words, justify="right")
    for row in rows:
        asked = {PARITY: "parity", ODDS: "odds"}.get(row["constraint"], "")
        low, high = row["costInterval"]
        table.add_row(
            row["method"],
            asked if row["bound"] is None else f"{asked} ≤ {row['bound']:g}",
            f"{row['accuracy']:.1%}",
            f"{round(100 * row['cost'], 1) + 0.0:+.1f} [dim]±{50 * (high - low):.1f}[/]" if asked else "",
            *(f"{row['gaps'][name]['value']:.3f}" for name in (PARITY, ODDS)),
            end_section=row is rows[1],
        )
    console.print(table)
    say(
        "[dim]The cost, with half of its 95% interval, is beside the same learner without a constraint. ≤: by how much "
        "a group's rate may differ from everyone's in the rows that were learned. fairlearn's models draw lots, or ask "
        "for a person's sex when they decide; the reweighed one does neither, and is served as any other.[/]"
    )
    before, after = rows[:2]
    parity, odds = ([row["gaps"][name]["value"] for row in (before, after)] for name in (PARITY, ODDS))
    say(
        f"Reweighing takes the parity gap from {parity[0]:.3f} to {parity[1]:.3f} for {100 * after['cost']:.1f} points "
        f"of accuracy, and the odds gap from {odds[0]:.3f} to {odds[1]:.3f}."
    )


# --- the steward ---


def live(
    client: portico.Client, endpoint: aiplatform.Endpoint, later: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """Day by day through the endpoint until an episode has ended or nobody is left.

    Returns the episode ({} where none began), the people whose income was known when it did, and the steward's status.
    """
    client.advance(to=START)
    outcome, _ = declaration.apply(client, declaration.load(STEWARD))
    console.print(f"[green]✓[/] portico apply -f {STEWARD.name}: the steward is {outcome}")
    say("Who comes now has the weight 1: a weight hangs on the income, which is not known yet.")
    started = time.monotonic()
    days = [later[at : at + A_DAY] for at in range(0, len(later), A_DAY)]
    known, episode, said = later[:0], {}, 0
    with progress("{task.description}") as bar:
        task = bar.add_task("", total=len(days))
        for day, people in enumerate(days):
            # The newcomers have no weight: each counts as one.
            instances = [{**one, WEIGHT: 1.0} for one in telling.instances_of(people, ["id", *FEATURES])]
            for at in range(0, len(instances), REQUEST):
                endpoint.predict(instances[at : at + REQUEST])
            said += len(instances)
            if day >= LATE:
                fresh = days[day - LATE]
                client.add_labels(endpoint.resource_name, [
                    {"key": {"id": int(one)}, "truth": income}
                    for one, income in zip(fresh["id"], fresh[TARGET], strict=True)
                ])  # fmt: skip
                if not episode:
                    known = later[: (day - LATE + 1) * A_DAY]
            bar.update(task, advance=1, description=f"day {day + 1}, {len(known):,} incomes known")
            client.advance(seconds=86400)
            found = client.episodes("census")
            episode = found[0] if found else {}
            if "endTime" in episode:
                break
    console.print(
        f"[green]✓[/] {said:,} people predicted online in {day + 1} days, their income known {LATE} days later "
        f"[dim]({time.monotonic() - started:.1f} s)[/]\n"
    )
    return episode, known, client.steward("census").get("status", {})


def show_episode(
    client: portico.Client, episode: dict[str, Any], status: dict[str, Any]
) -> dict[str, Any] | None:
    if not episode:
        console.print(
            f"  Nothing broke what is acceptable, so nothing was retrained. {status.get('message', '')}\n"
        )
        return None
    breach = episode["decisions"][0]
    say(f"[bold]{episode['startTime'][:10]}[/] breached: {breach['reason']}\n")
    table = Table.grid(padding=(0, 1))
    for gate in gates_of(episode):
        table.add_row("  [green]✓[/]" if gate["passed"] else "  [red]✗[/]", gate["gate"], gate["reason"])
    console.print(table)
    answer = client.replay(episode["name"])
    colour = "red" if episode["state"] == "REJECTED" else "green"
    say(
        f"\n[bold {colour}]{episode['state']}[/]. {verdict(episode)} Computed again from its evidence, "
        + (
            "every decision comes out as recorded.\n"
            if answer["agrees"]
            else "[red]it comes out otherwise.[/]\n"
        )
    )
    return {
        "name": episode["name"], "start": episode["startTime"], "end": episode.get("endTime"),
        "outcome": episode["state"], "states": [t["state"] for t in episode["transitions"]],
        "reason": episode["reason"], "breach": {"reason": breach["reason"], **breach["numbers"]},
        "gates": gates_of(episode), "replayAgrees": answer["agrees"],
    }  # fmt: skip


# --- the remedy ---


def weighed_again(
    champion: aiplatform.Model, bucket: str, learn: pd.DataFrame, known: pd.DataFrame, episode: dict[str, Any]
) -> dict[str, Any]:
    """A model on the people that the challenger learned from, all reweighed, measured as the gates measure."""
    gates = gates_of(episode)
    count = next(one for one in episode["decisions"] if one["question"] == "gates")["rows"]
    gate, more = known[-count:], known[:-count]
    everyone = pd.concat([learn, more], ignore_index=True)
    everyone[WEIGHT] = mitigation.reweighing(everyone["sex"], everyone[TARGET])
    columns, bucket = ["id", *FEATURES, TARGET], f"{bucket}-again"
    console.print("And with weights for the newcomers, made when their income is known?")
    with step(f"reweighed all {len(everyone):,} people that the challenger learned from"):
        telling.upload(bucket, {"learn.csv": everyone[[*columns, WEIGHT]], "gate.csv": gate[columns]})
        dataset = aiplatform.TabularDataset.create("census-again", gcs_source=f"gs://{bucket}/learn.csv")
    model = train(dataset, "census-again", "a model on them", weight_column=WEIGHT)
    truth = gate["rich"].to_numpy()
    scores, old = (predicted(one, bucket, "gate", gate) for one in (model, champion))
    compared = performance.compare("logLoss", truth, _both(scores), _both(old), np.arange(count, dtype=float))
    gaps = {}
    for one in gates:
        if "most" in one:
            by = ["sex", "race"] if "race=" in one["champion"]["high"] else ["sex"]
            gap = mitigation.fairness_of(gate, truth, scores, by, MINIMUM).gaps[PARITY]
            gaps[",".join(by)] = {**gap.to_json(), "most": one["most"]}
    passed = compared.supported and all(gap["value"] <= gap["most"] for gap in gaps.values())
    return {"rows": count, "better": compared.to_json(), "gaps": gaps, "passed": passed}


def show_remedy(remedy: dict[str, Any]) -> None:
    found = remedy["better"]
    say(
        f"On the gates' {remedy['rows']:,} people its logLoss is {found['first']:.4f}, the champion's "
        f"{found['second']:.4f}: {'better' if found['gain'] > 0 else 'worse'} by {abs(found['gain']):.4f} "
        f"({_interval(found)})."
    )
    for by, gap in remedy["gaps"].items():
        where = "within" if gap["value"] <= gap["most"] else "[red]beyond[/]"
        say(
            f"{PARITY} by {by.replace(',', ' and ')} is {gap['value']:.3f}, {where} the allowed {gap['most']:.3f}."
        )
    say(
        "[bold]It would have passed: better, and as fair.[/] Mitigation is part of the training, or it is gone.\n"
        if remedy["passed"]
        else "It would not have passed either.\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    main(parser.parse_args().out)
