"""Stand-ins for what a game on phones told Google Analytics (Flood-It!, in a public project of Firebase), and for the
table of its players that samples of monitoring read. Players are simulated: who plays more on the first day comes back.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from portico.warehouse.public import web_columns
from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import SEED, generator, weighted

_PLAYERS, _TOLD, _DAYS = 2_200, 800, 114  # of the events those of some players alone
_START = dt.datetime(2018, 6, 12, tzinfo=dt.UTC)
_DAY = 86_400  # seconds
# Country, language, how often.
_FROM = (("United States", "en-us", 50), ("India", "en-gb", 10), ("Japan", "ja-jp", 6), ("Canada", "en-ca", 6),
         ("United Kingdom", "en-gb", 5), ("Australia", "en-au", 4), ("Brazil", "pt-br", 4), ("France", "fr-fr", 4),
         ("Germany", "de-de", 4), ("Taiwan", "zh-tw", 4))  # fmt: skip
# Events of a game, beside the engagement, and how many there are of each in one.
_PLAYED = (("level_start_quickplay", 1.4), ("level_end_quickplay", 1.0), ("level_complete_quickplay", 0.6),
           ("level_reset_quickplay", 0.4), ("post_score", 0.5), ("spend_virtual_currency", 0.05), ("ad_reward", 0.04),
           ("challenge_a_friend", 0.03), ("completed_5_levels", 0.08), ("use_extra_steps", 0.04))  # fmt: skip
_COUNTED = ("user_engagement", *(name for name, _ in _PLAYED))
_TRAIN = (
    "user_pseudo_id STRING, country STRING, operating_system STRING, language STRING, "
    + ", ".join(f"cnt_{name} INT64" for name in _COUNTED)
    + ", user_first_engagement INT64, month INT64, julianday INT64, dayofweek INT64, churned INT64"
)


def _games(players: int = _PLAYERS) -> Iterator[tuple[dict[str, Any], list[tuple[float, str]]]]:
    """A player, and moments of his events, in seconds since the first day."""
    random = generator("flood-it")
    country = weighted(random, [one[2] for one in _FROM], _PLAYERS)
    system = random.choice(["ANDROID", "IOS"], _PLAYERS, p=[0.6, 0.4])
    begins = random.uniform(0, (_DAYS - 14) * _DAY, _PLAYERS)
    keen = random.normal(0, 1, _PLAYERS)
    for number in range(players):
        games = 1 + random.poisson(np.exp(0.9 + 0.6 * keen[number]))
        hours = np.sort(np.r_[0.0, random.exponential(2.0, games)])
        if random.random() < 1 / (1 + np.exp(-(1.6 * keen[number] + 0.4 * (system[number] == "IOS")))):
            hours = np.r_[hours, 24 + random.uniform(0, 12 * 24, 1 + random.poisson(2))]
        player = {
            "id": _id(number), "country": _FROM[country[number]][0], "language": _FROM[country[number]][1],
            "system": system[number], "begins": begins[number],
        }  # fmt: skip
        events = [(begins[number], "first_open")]
        for hour in hours:
            at = begins[number] + hour * 3600
            events += [(at, "session_start"), (at + 1, "user_engagement"), (at + 2, "screen_view")]
            many = random.poisson([often * (1 + (keen[number] > 0)) for _, often in _PLAYED])
            played = [name for (name, _), count in zip(_PLAYED, many, strict=True) for _ in range(count)]
            events += [(at + 30 + 20 * place, name) for place, name in enumerate(played)]
            events.append((at + 60 + 20 * len(played), "user_engagement"))
        yield player, sorted(events)


def _id(number: int) -> str:
    return f"{(number * 2_654_435_761) % 2**32:08X}{(number * 40_503) % 2**32:024X}"


def _events() -> list[dict[str, Any]]:
    rows = []
    for player, events in _games(_TOLD):
        first = _moment(player["begins"])
        of_all = {
            "user_pseudo_id": player["id"], "platform": player["system"], "stream_id": 1051193346,
            "user_first_touch_timestamp": int(first.timestamp() * 1e6),
            "device": {
                "category": "mobile", "operating_system": player["system"], "language": player["language"],
                "mobile_brand_name": "Apple" if player["system"] == "IOS" else "Google", "is_limited_ad_tracking": "No",
            },
            "geo": {"country": player["country"]},
            "traffic_source": {"name": "(direct)", "medium": "(none)", "source": "(direct)"},
        }  # fmt: skip
        for number, (at, name) in enumerate(events):
            moment = _moment(at)
            day = moment.strftime("%Y%m%d")
            params = [{"key": "engaged_session_event", "value": {"int_value": 1}}]
            rows.append({**of_all, "event_date": day, "_TABLE_SUFFIX": day, "event_name": name, "event_params": params,
                         "event_timestamp": int(moment.timestamp() * 1e6) + number})  # fmt: skip
    return sorted(rows, key=lambda row: row["event_timestamp"])


def _train() -> list[dict[str, Any]]:
    """Players who did not leave within ten minutes: what they did on their first day, and whether they were gone
    then."""
    rows = []
    for player, events in _games():
        engaged = [at for at, name in events if name == "user_engagement"]
        if engaged[-1] <= engaged[0] + 600:
            continue
        first = _moment(engaged[0])
        counts = Counter(name for at, name in events if at <= engaged[0] + _DAY)
        rows.append({
            "user_pseudo_id": player["id"], "country": player["country"], "operating_system": player["system"],
            "language": player["language"], **{f"cnt_{name}": counts[name] for name in _COUNTED},
            "user_first_engagement": int(first.timestamp() * 1e6), "month": first.month,
            "julianday": first.timetuple().tm_yday, "dayofweek": first.isoweekday() % 7 + 1,
            "churned": int(engaged[-1] < engaged[0] + _DAY),
        })  # fmt: skip
    return rows


def _moment(seconds: float) -> dt.datetime:
    return _START + dt.timedelta(seconds=float(seconds))


_OF_PLAYERS = f"{{:,}} players of a game simulated with the seed {SEED}"

TABLES = (
    PublicTable(
        "analytics_153293282.events_*", f"what {_OF_PLAYERS.format(_TOLD)} did on {_DAYS} days",
        web_columns.EVENTS, _events, project="firebase-public-project",
    ),
    *(
        PublicTable(
            "bqmlga4.train", f"of {_OF_PLAYERS.format(_PLAYERS)} those who stayed ten minutes",
            _TRAIN, _train, project=project,
        )
        for project in ("mco-mm", "storage-samples")
    ),
)  # fmt: skip
