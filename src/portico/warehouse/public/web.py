"""Stand-ins for what was recorded on the web: Google's merchandise store by Analytics (the old and the new), questions
and answers about programs, and the languages of repositories. All are simulated."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from portico.warehouse.public import web_columns
from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import SEED, Array, generator, missing, moments, picked, weighted

_SIMULATED = f"simulated with the seed {SEED}"

# Country, continent, part of it, how often, how much it buys.
_COUNTRIES = (("United States", "Americas", "Northern America", 44, 1.0), ("India", "Asia", "Southern Asia", 9, -1.5),
              ("Canada", "Americas", "Northern America", 8, 0.6),
              ("United Kingdom", "Europe", "Northern Europe", 4, -0.8),
              ("Spain", "Europe", "Southern Europe", 3, -1.0), ("France", "Europe", "Western Europe", 3, -1.0),
              ("Germany", "Europe", "Western Europe", 3, -0.9), ("Japan", "Asia", "Eastern Asia", 3, -0.7),
              ("Taiwan", "Asia", "Eastern Asia", 3, -0.5), ("Brazil", "Americas", "South America", 3, -1.2)
)  # fmt: skip
_SYSTEMS = (("Windows", "desktop", "Chrome", 36),
            ("Macintosh", "desktop", "Chrome", 20), ("iOS", "mobile", "Safari", 20),
            ("Android", "mobile", "Chrome", 20), ("Linux", "desktop", "Firefox", 4))  # fmt: skip
_SOURCES = (("(direct)", "(none)", "Direct", 35), ("google", "organic", "Organic Search", 40),
            ("youtube.com", "referral", "Social", 12), ("google", "cpc", "Paid Search", 6),
            ("mall.googleplex.com", "referral", "Referral", 7))  # fmt: skip
_GOODS = (("Google Zip Hoodie F/C", "Apparel", 48), ("Google Crewneck Sweatshirt Navy", "Apparel", 44),
          ("Android Iconic Sock", "Apparel", 12), ("Google Campus Bike", "Campus Collection", 46),
          ("YouTube Icon Tee", "Apparel", 19), ("Google Laptop Stickers", "Stationery", 3),
          ("Chrome Dino Collectible", "Uncategorized Items", 26), ("Google Camp Mug", "Drinkware", 14))  # fmt: skip
_LANGUAGE = ("en-us", "en-us", "en-us", "en-gb", "es-es", "fr-fr", "de-de", "ja-jp", "zh-tw", "pt-br")
_SHOP = "https://shop.googlemerchandisestore.com"
_PURCHASE = 6  # the last step below
_STEPS = ("view_item", "add_to_cart", "begin_checkout", "add_shipping_info", "add_payment_info", "purchase")


def _visits(name: str, many: int, days: Array) -> dict[str, Array]:
    """Visits in time: of whom (a visitor comes again), when, from where, with what, how many pages he saw and how far
    he went to a purchase. He goes the farther the more pages, from a country that buys, on a desktop and as a visitor
    who was here before."""
    random = generator(name)
    visitors = many * 2 // 3
    visitor = np.concatenate([np.arange(visitors), random.integers(0, visitors, many - visitors)])
    day = np.sort(random.choice(days, many))
    second = day * 86_400 + np.clip(random.normal(61_000, 15_000, many), 0, 86_000).astype(int)
    of_visitor = {"country": weighted(random, [one[3] for one in _COUNTRIES], visitors),
                  "system": weighted(random, [one[3] for one in _SYSTEMS], visitors),
                  "source": weighted(random, [one[3] for one in _SOURCES], visitors)}  # fmt: skip
    visitor = random.permutation(visitor)
    order = np.argsort(visitor, kind="stable")
    first = np.r_[True, visitor[order][1:] != visitor[order][:-1]]
    starts = np.flatnonzero(first)
    number = np.empty(many, int)
    number[order] = np.arange(many) - np.repeat(starts, np.diff(np.r_[starts, many])) + 1
    found = {key: values[visitor] for key, values in of_visitor.items()}
    pages = 1 + random.negative_binomial(1, 0.25 + 0.1 * (found["system"] >= 2), many)
    wish = -4.2 + 0.28 * pages + picked([one[4] for one in _COUNTRIES], found["country"])
    wish += 0.7 * (number > 1) - 0.6 * np.isin(found["system"], (2, 3)) + 0.5 * (found["source"] == 4)
    step = np.zeros(many, int)
    for at in range(1, _PURCHASE + 1):
        goes = random.random(many) < 1 / (1 + np.exp(-(wish + 2.4 + 0.35 * at)))
        step = np.where((step == at - 1) & goes, at, step)
    return found | {"visitor": visitor, "second": second, "number": number, "pages": pages, "step": step,
                    "good": random.integers(0, len(_GOODS), many), "quantity": 1 + random.poisson(0.4, many)
}  # fmt: skip


def _ga4() -> list[dict[str, Any]]:
    visits = _visits("ga4", 6_000, np.arange(92))
    start = int(dt.datetime(2020, 11, 1, tzinfo=dt.UTC).timestamp())
    return [row for visit in _each(visits) for row in _events(visit, start)]


def _each(visits: dict[str, Array]) -> Iterator[dict[str, int]]:
    for values in zip(*(one.tolist() for one in visits.values()), strict=True):
        yield dict(zip(visits, values, strict=True))


def _events(visit: dict[str, int], start: int) -> list[dict[str, Any]]:
    country, continent, part, _, _ = _COUNTRIES[visit["country"]]
    system, category, browser, _ = _SYSTEMS[visit["system"]]
    source, medium, _, _ = _SOURCES[visit["source"]]
    good, kind, price = _GOODS[visit["good"]]
    begins = start + visit["second"]
    session, revenue = 1_000_000 + visit["visitor"] * 31 + visit["number"], float(price * visit["quantity"])
    bought = visit["step"] == _PURCHASE
    day = dt.datetime.fromtimestamp(begins, dt.UTC).strftime("%Y%m%d")
    of_all = {
        "event_date": day, "user_pseudo_id": f"{1_000_000 + visit['visitor'] * 7919}.{visit['visitor'] * 104_729:010}",
        "event_bundle_sequence_id": session, "stream_id": 2100450278, "platform": "WEB", "_TABLE_SUFFIX": day,
        "user_first_touch_timestamp": (begins - 86_400 * 3 * (visit["number"] - 1)) * 1_000_000,
        "privacy_info": {"uses_transient_token": "No"},
        "user_ltv": {"revenue": revenue if bought else 0.0, "currency": "USD"},
        "device": {
            "category": category, "operating_system": system if category == "mobile" else "Web",
            "mobile_brand_name": {"iOS": "Apple", "Android": "Google"}.get(system, browser),
            "mobile_model_name": "iPhone" if system == "iOS" else "<Other>", "is_limited_ad_tracking": "No",
            "operating_system_version": system, "language": _LANGUAGE[visit["country"]],
            "web_info": {"browser": browser, "browser_version": "86.0"},
        },
        "geo": {"continent": continent, "sub_continent": part, "country": country, "region": "(not set)",
                           "city": "(not set)", "metro": "(not set)"},
        "traffic_source": {"medium": medium, "name": f"({medium.strip('()')})", "source": source},
    }  # fmt: skip
    names = ["first_visit"] * (visit["number"] == 1) + ["session_start"]
    for page in range(min(visit["pages"], 8)):
        names += ["page_view", *["scroll"] * (page % 3 == 1), *["user_engagement"] * (page % 2 == 0)]
    names += _STEPS[: visit["step"]]
    rows = []
    for number, name in enumerate(names):
        params = [
            {"key": "ga_session_id", "value": {"int_value": session}},
            {"key": "ga_session_number", "value": {"int_value": visit["number"]}},
            {"key": "page_location", "value": {"string_value": f"{_SHOP}/{kind.replace(' ', '+')}"}},
            {"key": "page_title", "value": {"string_value": f"{kind} | Google Merchandise Store"}},
        ]
        if name == "user_engagement":
            params.append({"key": "engagement_time_msec", "value": {"int_value": 3_000 + 997 * number}})
        row = {**of_all, "event_name": name, "event_timestamp": (begins + 17 * number) * 1_000_000 + number,
               "event_params": params, "items": None, "ecommerce": None, "event_value_in_usd": None
}  # fmt: skip
        if name in _STEPS:
            row["items"] = [{
                "item_id": f"GGOE{visit['good']:05}", "item_name": good, "item_brand": "Google", "item_category": kind,
                "price_in_usd": price, "price": price, "quantity": visit["quantity"],
                "item_revenue_in_usd": revenue if name == "purchase" else None,
            }]  # fmt: skip
        if name == "purchase":
            row["event_value_in_usd"] = revenue
            row["ecommerce"] = {
                "total_item_quantity": visit["quantity"], "purchase_revenue_in_usd": revenue, "unique_items": 1,
                "purchase_revenue": revenue, "tax_value_in_usd": round(revenue * 0.08, 2),
                "transaction_id": str(session),
            }  # fmt: skip
        rows.append(row)
    return rows


def _sessions() -> list[dict[str, Any]]:
    visits = _visits("ga_sessions", 12_000, np.r_[0:365:7, 365])
    start = int(dt.datetime(2016, 8, 1, tzinfo=dt.UTC).timestamp())
    return [_session(visit, start) for visit in _each(visits)]


def _session(visit: dict[str, int], start: int) -> dict[str, Any]:
    country, continent, part, _, _ = _COUNTRIES[visit["country"]]
    system, category, browser, _ = _SYSTEMS[visit["system"]]
    source, medium, channel, _ = _SOURCES[visit["source"]]
    good, kind, price = _GOODS[visit["good"]]
    begins, step, bought = start + visit["second"], visit["step"], visit["step"] == _PURCHASE
    day = dt.datetime.fromtimestamp(begins, dt.UTC)
    revenue = price * visit["quantity"] * 1_000_000 if bought else None
    pages = visit["pages"]
    totals = {
        "visits": 1, "hits": pages + step, "pageviews": pages, "timeOnSite": 35 * (pages - 1) + 20 * step or None,
        "bounces": 1 if pages == 1 and not step else None, "newVisits": 1 if visit["number"] == 1 else None,
        "transactions": 1 if bought else None, "transactionRevenue": revenue, "totalTransactionRevenue": revenue,
        "sessionQualityDim": min(1 + 3 * pages + 12 * step, 100),
    }  # fmt: skip
    hits = []
    for number in range(1, min(pages, 8) + step + 1):
        done = number - min(pages, 8)  # steps to the purchase come last
        action = str((0, 2, 3, 5, 5, 5, 6)[done] if done > 0 else 0)
        hit: dict[str, Any] = {
            "hitNumber": number, "time": (number - 1) * 21_000, "hour": day.hour, "minute": day.minute,
            "isInteraction": True, "isEntrance": number == 1, "isExit": number == min(pages, 8) + step,
            "page": {"pagePath": "/home" if number == 1 else f"/google+redesign/{kind.lower().replace(' ', '+')}",
                     "hostname": "shop.googlemerchandisestore.com", "pageTitle": kind},
            "eCommerceAction": {"action_type": action, "step": 1}, "type": "PAGE", "dataSource": "web", "product": [],
        }  # fmt: skip
        if done > 0:
            hit["product"] = [{
                "productSKU": f"GGOE{visit['good']:05}", "v2ProductName": good, "v2ProductCategory": f"Home/{kind}/",
                "productPrice": price * 1_000_000, "productQuantity": visit["quantity"],
                "productRevenue": revenue if action == "6" else None,
            }]  # fmt: skip
        if action == "6":
            hit["transaction"] = {
                "transactionId": f"ORD{begins}",
                "transactionRevenue": revenue,
                "currencyCode": "USD",
            }
        hits.append(hit)
    return {
        "visitNumber": visit["number"], "visitId": begins, "visitStartTime": begins, "date": day.strftime("%Y%m%d"),
        "_TABLE_SUFFIX": day.strftime("%Y%m%d"), "fullVisitorId": f"{visit['visitor'] * 6_700_417 + 10**12:019}",
        "channelGrouping": channel, "socialEngagementType": "Not Socially Engaged", "totals": totals,
        "trafficSource": {"source": source, "medium": medium, "campaign": "(not set)",
                                     "isTrueDirect": True if source == "(direct)" else None},
        "device": {"browser": browser, "operatingSystem": system, "isMobile": category == "mobile",
                              "deviceCategory": category, "language": "not available in demo dataset"},
        "geoNetwork": {"continent": continent, "subContinent": part, "country": country,
                                  "region": "not available in demo dataset", "city": "not available in demo dataset"},
        "customDimensions": [{"index": 4, "value": "North America" if part == "Northern America" else "EMEA"}],
        "hits": hits,
    }  # fmt: skip


# --- programs ---------------------------------------------------------------------------------------------------------

_TOPICS = {
    "python": ("pandas", "numpy", "django", "flask", "matplotlib", "tensorflow"),
    "javascript": ("jquery", "reactjs", "node.js", "angular", "html", "css"),
    "java": ("spring", "android", "hibernate", "maven", "swing", "jpa"),
    "c#": (".net", "asp.net", "linq", "wpf", "entity-framework", "unity3d"),
    "sql": ("mysql", "postgresql", "google-bigquery", "sqlite", "oracle", "sql-server"),
    "r": ("ggplot2", "dplyr", "shiny", "data.table", "lm", "plot"),
}
_TASKS = ("read a large file", "group rows by a column", "join two lists", "sort by several keys", "parse a date",
          "remove duplicates", "draw a chart", "call a web service", "write a unit test", "handle a missing value"
)  # fmt: skip
_TROUBLES = ("without loading all of it", "when a value is missing", "faster than with a loop", "and keep the order",
             "after an upgrade to the newest version", "with an error that says nothing")  # fmt: skip


def _posts() -> tuple[pa.Table, pa.Table]:
    """Questions, and answers to them: the older a question and the more it is seen the more answers it has."""
    random, count = generator("stackoverflow"), 12_000
    language = weighted(random, (30, 25, 15, 12, 10, 8), count)
    topic, task, trouble = (
        random.integers(0, 6, count),
        random.integers(0, 10, count),
        random.integers(0, 6, count),
    )
    day = random.integers(0, 4_900, count)
    seen = (random.lognormal(6.3, 1.1, count) * (1 + day[::-1] / 2000)).astype(int)
    score = np.round(random.normal(0, 1, count) + np.log(seen / 300) * 1.6).astype(int)
    answers = random.poisson(np.clip(np.log10(seen) - 1.6, 0.05, 3))
    ids = 4 + np.sort(random.choice(60_000_000, count, replace=False))
    asked = moments("2008-08-01", np.sort(day) * 86_400 + random.integers(0, 86_400, count))
    titles, bodies, tags = [], [], []
    for one, other, what, how in zip(language, topic, task, trouble, strict=True):
        name = list(_TOPICS)[one]
        library = _TOPICS[name][other]
        titles.append(f"How to {_TASKS[what]} in {name} with {library} {_TROUBLES[how]}?")
        bodies.append(f"<p>I use {library} and have to {_TASKS[what]} {_TROUBLES[how]}.</p>\n<pre><code>{name} "
                      f"{library}.{_TASKS[what].split()[0]}()</code></pre>\n<p>What do I have to change?</p>"
)  # fmt: skip
        tags.append(f"{name}|{library}")
    of = np.repeat(np.arange(count), answers)
    reply = ids.max() + 1 + np.arange(len(of))
    best = np.r_[True, of[1:] != of[:-1]] & (random.random(len(of)) < 0.6)
    accepted = dict(zip(of[best].tolist(), reply[best].tolist(), strict=True))
    late = (random.lognormal(9, 1.5, len(of)) * 1_000_000).astype("timedelta64[us]")
    questions = pa.table({
        "id": ids, "title": titles, "body": bodies, "accepted_answer_id": [accepted.get(one) for one in range(count)],
        "answer_count": answers, "comment_count": random.poisson(1.5, count), "creation_date": asked,
        "favorite_count": missing(score // 4, score < 4), "last_activity_date": asked,
        "owner_user_id": random.integers(1, 9_000_000, count), "post_type_id": np.full(count, 1), "score": score,
        "tags": tags, "view_count": seen,
    })  # fmt: skip
    replies = pa.table({
        "id": reply, "body": [f"<p>To {_TASKS[task[one]]} {_TROUBLES[trouble[one]]}, take what "
                              f"{tags[one].partition('|')[2]} has for it.</p>" for one in of],
        "comment_count": random.poisson(1, len(of)), "creation_date": asked[of] + late,
        "last_activity_date": asked[of] + late, "owner_user_id": random.integers(1, 9_000_000, len(of)),
        "parent_id": ids[of], "post_type_id": np.full(len(of), 2),
        "score": np.round(score[of] * 0.7 + 3 * best + random.normal(0, 1, len(of))).astype(int),
    })  # fmt: skip
    return questions, replies


_LANGUAGES = (("JavaScript", "HTML", "CSS"), ("Python", "Jupyter Notebook", "Shell"), ("Java", "Kotlin", "Shell"),
              ("C++", "C", "CMake"), ("Go", "Makefile", "Dockerfile"), ("Ruby", "HTML", "JavaScript"))  # fmt: skip


def _repositories() -> list[dict[str, Any]]:
    """A repository's languages go together: a web page's, a notebook's …"""
    random, rows = generator("github_repos"), []
    for number in range(10_000):
        names = _LANGUAGES[weighted(random, (30, 24, 16, 12, 10, 8), 1)[0]][: random.integers(1, 4)]
        sizes = random.lognormal(9, 1.5, 3) / (1, 6, 30)
        held = [{"name": name, "bytes": int(size) + 1} for name, size in zip(names, sizes, strict=False)]
        rows.append({"repo_name": f"user{number * 7919 % 6007}/project-{number}", "language": held})
    return rows


_DATES = (
    "comment_count INT64, community_owned_date TIMESTAMP, creation_date TIMESTAMP, favorite_count {0}, "
    "last_activity_date TIMESTAMP, last_edit_date TIMESTAMP, last_editor_display_name STRING, "
    "last_editor_user_id INT64, owner_display_name STRING, owner_user_id INT64, parent_id {1}, post_type_id INT64, "
    "score INT64, tags STRING, view_count {0}"
)

TABLES = (
    PublicTable(
        "ga4_obfuscated_sample_ecommerce.events_*", f"6,000 visits to a shop {_SIMULATED}, 92 days",
        web_columns.EVENTS, _ga4,
    ),
    PublicTable(
        "google_analytics_sample.ga_sessions_*", f"12,000 visits to a shop {_SIMULATED}, on a day a week and the last",
        web_columns.SESSIONS, _sessions,
    ),
    PublicTable(
        "stackoverflow.posts_questions", f"12,000 questions {_SIMULATED}",
        f"id INT64, title STRING, body STRING, accepted_answer_id INT64, answer_count INT64, "
        f"{_DATES.format('INT64', 'STRING')}", lambda: _posts()[0],
    ),
    PublicTable(
        "stackoverflow.posts_answers", f"answers to the 12,000 questions of posts_questions {_SIMULATED}",
        f"id INT64, title STRING, body STRING, accepted_answer_id STRING, answer_count STRING, "
        f"{_DATES.format('STRING', 'INT64')}", lambda: _posts()[1],
    ),
    PublicTable(
        "github_repos.languages", f"the languages of 10,000 repositories {_SIMULATED}",
        "repo_name STRING, language ARRAY<STRUCT<name STRING, bytes INT64>>", _repositories,
    ),
)  # fmt: skip
