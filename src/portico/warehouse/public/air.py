"""Stand-ins for tables of the air of American cities, a row a station and day: fine dust, wind and temperature. All are
simulated: a year's and days' weather, in which dust gathers where it is cold and no wind goes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import SEED, Array, days, generator

# Name, state, county, their codes, latitude, longitude, degrees Fahrenheit in the mean and from it to July's.
_CITIES = (
    ("Seattle", "Washington", "King", "53", "033", 47.568, -122.309, 53.0, 13.0),
    ("Denver", "Colorado", "Denver", "08", "031", 39.751, -104.988, 51.0, 21.0),
    ("Phoenix", "Arizona", "Maricopa", "04", "013", 33.503, -112.096, 75.0, 19.0),
    ("Chicago", "Illinois", "Cook", "17", "031", 41.913, -87.723, 51.0, 24.0),
)
_FIRST, _DAYS = "2009-08-11", 5_000


def _lasting(random: np.random.Generator, keeps: float) -> Array:
    """Noise of which a share stays from day to day; its standard deviation is 1."""
    noise: Array = random.normal(size=_DAYS) * np.sqrt(1 - keeps**2)
    for at in range(1, _DAYS):
        noise[at] += keeps * noise[at - 1]
    return noise


def _weather(city: int) -> tuple[Array, Array, Array]:
    """Of each day the mean temperature, the wind and the dust."""
    random, date = generator(f"air {city}"), days(_FIRST, np.arange(_DAYS))
    of_year = (date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    summer = -np.cos(2 * np.pi * (of_year - 18) / 365.25)
    mean, swing = _CITIES[city][7:]
    heat = mean + swing * summer + 5 * _lasting(random, 0.7)
    wind = np.maximum(4 + 1.6 * _lasting(random, 0.4) - 0.5 * summer, 0.3)
    dust = np.exp(2.5 - 0.18 * wind - 0.012 * (heat - mean) + 0.3 * _lasting(random, 0.5))
    return heat, wind, dust


# Parameter, its code, unit, how long a sample is, and from a day's weather the mean and the highest value.
_Values = Callable[[Array, Array, Array], tuple[Array, Array]]
_KINDS: dict[str, tuple[str, int, str, str, _Values]] = {
    "pm25_nonfrm": ("Acceptable PM2.5 AQI & Speciation Mass", 88502, "Micrograms/cubic meter (LC)", "24-HR BLK AVG",
                    lambda heat, wind, dust: (dust, dust)),
    "wind": ("Wind Speed - Resultant", 61103, "Knots", "1 HOUR", lambda heat, wind, dust: (wind, wind * 2.1)),
    "temperature": ("Outdoor Temperature", 62101, "Degrees Fahrenheit", "1 HOUR",
                    lambda heat, wind, dust: (heat, heat + 8 + heat / 12)),
}  # fmt: skip


def _daily(kind: str) -> pa.Table:
    parameter, code, unit, sample, values = _KINDS[kind]
    parts = []
    for at, (city, state, county, state_code, county_code, north, east, *_) in enumerate(_CITIES):
        mean, most = values(*_weather(at))
        same = {
            "state_code": state_code, "county_code": county_code, "site_num": "0080", "parameter_code": code, "poc": 3,
            "latitude": north, "longitude": east, "datum": "WGS84", "parameter_name": parameter,
            "sample_duration": sample, "units_of_measure": unit, "event_type": "None", "observation_count": 24,
            "observation_percent": 100.0, "state_name": state, "county_name": county, "city_name": city,
        }  # fmt: skip
        parts.append(pa.table({name: [value] * _DAYS for name, value in same.items()} | {
            "date_local": days(_FIRST, np.arange(_DAYS)), "arithmetic_mean": mean.round(6),
            "first_max_value": most.round(1), "first_max_hour": (most * 7).astype(int) % 24,
        }))  # fmt: skip
    return pa.concat_tables(parts)


_DAILY = (
    "state_code STRING, county_code STRING, site_num STRING, parameter_code INT64, poc INT64, "
    "latitude FLOAT64, longitude FLOAT64, datum STRING, parameter_name STRING, sample_duration STRING, "
    "pollutant_standard STRING, date_local DATE, units_of_measure STRING, event_type STRING, "
    "observation_count INT64, observation_percent FLOAT64, arithmetic_mean FLOAT64, "
    "first_max_value FLOAT64, first_max_hour INT64, aqi INT64, method_code STRING, method_name STRING, "
    "local_site_name STRING, address STRING, state_name STRING, county_name STRING, city_name STRING, "
    "cbsa_name STRING, date_of_last_change DATE"
)
TABLES = tuple(
    PublicTable(
        f"epa_historical_air_quality.{kind}_daily_summary",
        f"{_DAYS * len(_CITIES):,} days of stations simulated with the seed {SEED}, 2009 to 2023",
        _DAILY,
        partial(_daily, kind),
    )
    for kind in _KINDS
)
