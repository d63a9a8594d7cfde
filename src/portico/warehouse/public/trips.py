"""Stand-ins for tables of trips: taxis of Chicago and New York, bicycles of New York and London. All are simulated:
rides between places of a city, longer and dearer the farther and the fuller the streets."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pyarrow as pa

from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import (
    SEED,
    Array,
    generator,
    hours_of_trips,
    missing,
    moments,
    picked,
    weighted,
)

_DAY = 86_400
_SIMULATED = f"simulated with the seed {SEED}"


def _pace(hour: Array) -> Array:
    """How much longer a way takes than at night: streets are full twice a day."""
    return 1 + 0.5 * np.exp(-(((hour - 8.5) / 1.5) ** 2)) + 0.7 * np.exp(-(((hour - 17.5) / 2) ** 2))


def _starts(random: np.random.Generator, count: int, days: int) -> tuple[Array, Array, Array]:
    """Seconds since the first day's midnight, hour of the day, and day of the week (0 the first day's)."""
    day, hour = random.integers(0, days, count), hours_of_trips(random, count)
    return day * _DAY + (hour * 3600).astype(int), hour, day % 7


# Community areas: number, latitude, longitude, how often.
_AREAS = ((8, 41.899, -87.632, 28), (32, 41.880, -87.628, 26), (28, 41.874, -87.665, 14), (6, 41.944, -87.655, 9),
          (7, 41.922, -87.649, 9), (76, 41.980, -87.913, 8), (56, 41.792, -87.770, 4), (33, 41.850, -87.621, 4),
          (24, 41.901, -87.676, 4), (3, 41.966, -87.656, 3), (41, 41.794, -87.592, 2), (77, 41.985, -87.664, 2)
)  # fmt: skip
_COMPANIES = (
    "Taxi Affiliation Services",
    "Flash Cab",
    "Chicago Carriage Cab Corp",
    "City Service",
    "Sun Taxi",
)


def _chicago() -> pa.Table:
    random, count = generator("chicago_taxi_trips"), 50_000
    # A third of the rides is of one week, which samples ask for.
    seconds, hour, _ = _starts(random, count, 3652)
    week = random.random(count) < 0.3
    seconds = np.where(
        week, (int(np.datetime64("2018-05-12").astype(int)) - 15_706) * _DAY + seconds % (6 * _DAY), seconds
    )
    from_, to = (weighted(random, [one[3] for one in _AREAS], count) for _ in range(2))
    latitude, longitude = (np.array([one[at] for one in _AREAS]) for at in (1, 2))
    north, east = 69 * (latitude[from_] - latitude[to]), 51 * (longitude[from_] - longitude[to])
    miles = np.maximum(1.25 * np.hypot(north, east) + random.gamma(2, 0.4, count), 0.1).round(1)
    lasts = (miles / (10 + miles) * 3000 * _pace(hour) * random.lognormal(0, 0.2, count) + 90) // 60 * 60
    start = seconds // 900 * 900  # Google's times are rounded to a quarter of an hour
    fare = 3.25 + 2.25 * miles + 0.2 * np.maximum(lasts - miles * 120, 0) / 36 + random.normal(0, 0.5, count)
    fare = np.maximum(fare, 3.25).round(2)
    card = random.random(count) < 1 / (1 + np.exp(-(fare - 14) / 9))
    airport = np.isin(picked([one[0] for one in _AREAS], from_), (76, 56))
    tips = np.where(
        card & (random.random(count) < 0.93), fare * random.normal(0.21, 0.05, count).clip(0, 1), 0
    ).round(2)
    extras = np.where(airport, 4.0, 0) + random.choice([0, 1.0, 1.5], count, p=[0.7, 0.2, 0.1])
    unknown = random.random(count) < 0.05
    places: dict[str, Any] = {}
    for end, at in (("pickup", from_), ("dropoff", to)):
        places |= {
            f"{end}_census_tract": missing(17031000000 + at * 10_100, random.random(count) < 0.3),
            f"{end}_community_area": missing(picked([one[0] for one in _AREAS], at), unknown),
            f"{end}_latitude": missing(latitude[at], unknown), f"{end}_longitude": missing(longitude[at], unknown),
            f"{end}_location": missing(picked([f"POINT ({one[2]} {one[1]})" for one in _AREAS], at), unknown),
        }  # fmt: skip
    taxi = random.integers(0, 900, count)
    return pa.table({
        "unique_key": _keys(40, count), "taxi_id": picked(_keys(128, 900), taxi), **places,
        "trip_start_timestamp": moments("2013-01-01", start),
        "trip_end_timestamp": moments("2013-01-01", (start + lasts) // 900 * 900), "trip_seconds": lasts.astype(int),
        "trip_miles": miles, "fare": fare, "tips": tips, "tolls": np.zeros(count), "extras": extras,
        "trip_total": (fare + tips + extras).round(2), "payment_type": np.where(card, "Credit Card", "Cash"),
        "company": picked(_COMPANIES, taxi % len(_COMPANIES)),
    })  # fmt: skip


def _keys(length: int, count: int) -> list[str]:
    """Hexadecimal names."""
    return [
        "".join(f"{zlib.crc32(f'{length} {one} {part}'.encode()):08x}" for part in range(length // 8))
        for one in range(count)
    ]


_ZONES = (7, 41, 42, 43, 65, 66, 74, 75, 82, 95, 97, 129, 166, 181, 223, 244, 255, 260)


def _green() -> pa.Table:
    random, count = generator("tlc_green_trips"), 40_000
    seconds, hour, _ = _starts(random, count, 365)
    zone = weighted(random, range(20, 2, -1), count)
    miles = np.maximum(random.gamma(1.6, 1.8, count), 0.1).round(2)
    lasts = miles / (9 + miles) * 3200 * _pace(hour) * random.lognormal(0, 0.25, count) + 60
    fare = (np.maximum(2.5 + 2.5 * miles + 0.5 * np.maximum(lasts / 60 - 3 * miles, 0), 2.5) * 2).round() / 2
    extra = np.where((hour > 16) & (hour < 20), 1.0, np.where((hour > 20) | (hour < 6), 0.5, 0))
    tolls = np.where((miles > 9) & (random.random(count) < 0.5), 5.76, 0)
    card = random.random(count) < np.clip(0.35 + fare / 60, 0, 0.9)
    tip = np.where(card, fare * random.normal(0.19, 0.07, count).clip(0, 1), 0).round(2)
    start = moments("2017-01-01", seconds)
    return pa.table({
        "vendor_id": picked(("1", "2"), weighted(random, (2, 8), count)), "pickup_datetime": start,
        "dropoff_datetime": moments("2017-01-01", seconds + lasts.astype(int)),
        "store_and_fwd_flag": np.where(random.random(count) < 0.002, "Y", "N"),
        "rate_code": picked(("1", "5", "2"), weighted(random, (97, 2, 1), count)),
        "passenger_count": 1 + weighted(random, (84, 8, 2, 1, 3, 2), count), "trip_distance": miles,
        "fare_amount": fare, "extra": extra, "mta_tax": np.full(count, 0.5), "tip_amount": tip,
        "tolls_amount": tolls, "total_amount": (fare + extra + 0.8 + tip + tolls).round(2),
        "payment_type": np.where(card, "1", "2"), "imp_surcharge": np.full(count, 0.3),
        "trip_type": np.where(random.random(count) < 0.02, "2", "1"),
        "pickup_location_id": picked([str(one) for one in _ZONES], zone),
        "dropoff_location_id": picked([str(one) for one in _ZONES], random.integers(0, len(_ZONES), count)),
        "data_file_year": np.full(count, 2017), "data_file_month": start.astype("datetime64[M]").astype(int) % 12 + 1,
    })  # fmt: skip


def _between(random: np.random.Generator, places: Array, count: int) -> tuple[Array, Array, Array]:
    """From where to where, as numbers of `places` (degrees, n x 2), and how many kilometres: of three places that are
    drawn one rides to the second nearest."""
    from_ = weighted(random, np.linspace(3, 0.5, len(places)), count)
    to = random.integers(0, len(places), (3, count))
    apart = (places[to] - places[from_]) * [111, 111 * np.cos(np.radians(places[0, 0]))]
    far = np.hypot(apart[..., 0], apart[..., 1])
    chosen, every = far.argsort(axis=0)[1], np.arange(count)
    return from_, to[chosen, every], far[chosen, every]


_STREETS = ("Broadway", "Lafayette St", "8 Ave", "W 31 St", "E 17 St", "West St", "Cleveland Pl", "W 20 St", "9 Ave",
            "Greenwich Ave", "E 47 St", "Allen St", "Pershing Square", "W 41 St", "Carmine St", "University Pl",
            "Central Park S", "Central Park West"
)  # fmt: skip
_CROSSING = (
    "Spring St",
    "E 8 St",
    "Park Ave",
    "W 22 St",
    "Chambers St",
    "Union Sq",
    "2 Ave",
    "11 Ave",
    "Houston St",
)


def _citibike() -> pa.Table:
    random, count = generator("citibike"), 40_000
    names = [f"{one} & {other}" for one in _STREETS for other in _CROSSING]
    places = np.column_stack(
        [random.uniform(40.70, 40.77, len(names)), random.uniform(-74.01, -73.95, len(names))]
    )
    from_, to, far = _between(random, places, count)
    seconds, _, weekday = _starts(random, count, 1700)
    subscriber = random.random(count) < np.where(weekday >= 5, 0.7, 0.92)
    born = np.clip(random.normal(1977, 11, count), 1930, 2001).round().astype(int)
    speed = np.where(subscriber, 13, 8) + (born - 1977) / 20
    lasts = (np.maximum(far, 0.3) / speed * 3600 * random.lognormal(0.15, 0.3, count) + 120).astype(int)
    gender = np.where(subscriber, picked(("male", "female"), weighted(random, (72, 28), count)), "unknown")
    columns: dict[str, Any] = {}
    for end, at in (("start", from_), ("end", to)):
        columns |= {
            f"{end}_station_id": 72 + at, f"{end}_station_name": picked(names, at),
            f"{end}_station_latitude": places[at, 0], f"{end}_station_longitude": places[at, 1],
        }  # fmt: skip
    return pa.table(columns | {
        "tripduration": lasts, "starttime": moments("2013-07-01", seconds),
        "stoptime": moments("2013-07-01", seconds + lasts), "bikeid": random.integers(14_529, 33_000, count),
        "usertype": np.where(subscriber, "Subscriber", "Customer"), "birth_year": missing(born, ~subscriber),
        "gender": gender, "customer_plan": np.full(count, ""),
    })  # fmt: skip


_LONDON = ("River Street , Clerkenwell", "Phillimore Gardens, Kensington", "Christopher Street, Liverpool Street",
           "St. Chad's Street, King's Cross", "Sedding Street, Sloane Square", "Broadcasting House, Marylebone",
           "Charlbert Street, St. John's Wood", "Maida Vale, Maida Vale", "New Globe Walk, Bankside",
           "Park Street, Bankside", "Brunswick Square, Bloomsbury", "Malet Street, Bloomsbury",
           "Kennington Road, Vauxhall", "Belgrove Street , King's Cross", "Great Russell Street, Bloomsbury",
           "Cartwright Gardens , Bloomsbury", "Hatton Wall, Holborn", "Hyde Park Corner, Hyde Park",
           "Kennington Oval, Oval", "Drummond Street , Euston", "Aquatic Centre, Queen Elizabeth Olympic Park",
           "Albert Gate, Hyde Park", "Black Lion Gate, Kensington Gardens", "Waterloo Station 3, Waterloo",
           "Duke Street Hill, London Bridge", "Wormwood Street, Liverpool Street")  # fmt: skip


def _london_stations() -> tuple[list[str], Array, Array]:
    """Names, places, docks."""
    random = generator("london_stations")
    names = [name if not lap else f"{name.partition(',')[0]} {lap + 1}, {name.partition(',')[2].strip()}"
             for lap in range(30) for name in _LONDON]  # fmt: skip
    places = np.column_stack(
        [random.normal(51.508, 0.018, len(names)), random.normal(-0.13, 0.05, len(names))]
    )
    return names, places, random.integers(15, 60, len(names))


def _stations() -> pa.Table:
    names, places, docks = _london_stations()
    random, count = generator("cycle_stations"), len(names)
    bikes = (docks * random.beta(2, 2.5, count)).astype(int)
    return pa.table({
        "id": 1 + np.arange(count), "installed": np.full(count, True), "latitude": places[:, 0].round(6),
        "locked": np.full(count, "false"), "longitude": places[:, 1].round(6), "name": names, "bikes_count": bikes,
        "docks_count": docks, "nbEmptyDocks": docks - bikes, "temporary": np.full(count, False),
        "terminal_name": [f"{1001 + one:06}" for one in range(count)],
        "install_date": np.datetime64("2010-07-06") + random.integers(0, 2000, count).astype("timedelta64[D]"),
    })  # fmt: skip


def _hires() -> pa.Table:
    names, places, _ = _london_stations()
    random, count = generator("cycle_hire"), 50_000
    from_, to, far = _between(random, places, count)
    seconds, _, weekday = _starts(random, count, 2900)
    leisure = random.random(count) < np.where(weekday >= 5, 0.6, 0.15)
    lasts = (
        np.maximum(far, 0.4) / np.where(leisure, 6, 12) * 3600 * random.lognormal(0.2, 0.35, count)
    ) // 60 * 60 + 60
    columns: dict[str, Any] = {}
    for end, at, when in (("start", from_, seconds), ("end", to, seconds + lasts)):
        columns |= {
            f"{end}_date": moments("2015-01-04", when // 60 * 60), f"{end}_station_id": 1 + at,
            f"{end}_station_name": picked(names, at),
        }  # fmt: skip
    return pa.table(columns | {
        "rental_id": 40_000_000 + np.arange(count) * 137, "duration": lasts.astype(int),
        "duration_ms": lasts.astype(int) * 1000, "bike_id": random.integers(1, 15_000, count),
        "bike_model": np.full(count, "CLASSIC"),
    })  # fmt: skip


_TAXI = (
    "unique_key STRING, taxi_id STRING, trip_start_timestamp TIMESTAMP, trip_end_timestamp TIMESTAMP, "
    "trip_seconds INT64, trip_miles FLOAT64, pickup_census_tract INT64, dropoff_census_tract INT64, "
    "pickup_community_area INT64, dropoff_community_area INT64, fare FLOAT64, tips FLOAT64, tolls FLOAT64, "
    "extras FLOAT64, trip_total FLOAT64, payment_type STRING, company STRING, pickup_latitude FLOAT64, "
    "pickup_longitude FLOAT64, pickup_location STRING, dropoff_latitude FLOAT64, dropoff_longitude FLOAT64, "
    "dropoff_location STRING"
)
_TLC = (
    "vendor_id STRING, pickup_datetime TIMESTAMP, dropoff_datetime TIMESTAMP, store_and_fwd_flag STRING, "
    "rate_code STRING, passenger_count INT64, trip_distance NUMERIC, fare_amount NUMERIC, extra NUMERIC, "
    "mta_tax NUMERIC, tip_amount NUMERIC, tolls_amount NUMERIC, ehail_fee NUMERIC, airport_fee NUMERIC, "
    "total_amount NUMERIC, payment_type STRING, distance_between_service NUMERIC, time_between_service INT64, "
    "trip_type STRING, imp_surcharge NUMERIC, pickup_location_id STRING, dropoff_location_id STRING, "
    "data_file_year INT64, data_file_month INT64"
)
_CITIBIKE = (
    "tripduration INT64, starttime DATETIME, stoptime DATETIME, start_station_id INT64, start_station_name STRING, "
    "start_station_latitude FLOAT64, start_station_longitude FLOAT64, end_station_id INT64, end_station_name STRING, "
    "end_station_latitude FLOAT64, end_station_longitude FLOAT64, bikeid INT64, usertype STRING, birth_year INT64, "
    "gender STRING, customer_plan STRING"
)
_HIRE = (
    "rental_id INT64, duration INT64, duration_ms INT64, bike_id INT64, bike_model STRING, end_date TIMESTAMP, "
    "end_station_id INT64, end_station_name STRING, start_date TIMESTAMP, start_station_id INT64, "
    "start_station_name STRING, end_station_logical_terminal INT64, start_station_logical_terminal INT64, "
    "end_station_priority_id INT64"
)
_STATION = (
    "id INT64, installed BOOL, latitude FLOAT64, locked STRING, longitude FLOAT64, name STRING, bikes_count INT64, "
    "docks_count INT64, nbEmptyDocks INT64, temporary BOOL, terminal_name STRING, install_date DATE, removal_date DATE"
)

TABLES = (
    PublicTable("chicago_taxi_trips.taxi_trips", f"50,000 rides {_SIMULATED}, 2013 to 2022", _TAXI, _chicago),
    PublicTable("new_york_taxi_trips.tlc_green_trips_2017", f"40,000 rides {_SIMULATED}", _TLC, _green),
    PublicTable(
        "new_york_citibike.citibike_trips", f"40,000 rides {_SIMULATED}, 2013 to 2018", _CITIBIKE, _citibike
    ),
    PublicTable(
        "new_york.citibike_trips",
        f"40,000 rides {_SIMULATED}, 2013 to 2018",
        _CITIBIKE.removesuffix(", customer_plan STRING"),
        _citibike,
    ),
    PublicTable("london_bicycles.cycle_hire", f"50,000 rides {_SIMULATED}, 2015 to 2022", _HIRE, _hires),
    PublicTable("london_bicycles.cycle_stations", f"780 stations {_SIMULATED}", _STATION, _stations),
)
