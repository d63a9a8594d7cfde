"""Stand-ins for tables of shops: Iowa's liquor sales, and the shop of `thelook_ecommerce`. All are simulated."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa

from portico.warehouse.public.declared import PublicTable
from portico.warehouse.public.drawing import SEED, Array, days, generator, missing, moments, picked, weighted

_SIMULATED = f"simulated with the seed {SEED}"

# City, county, county's number, zip code, longitude, latitude.
_CITIES = (("DES MOINES", "POLK", "77", "50314", -93.62, 41.59),
           ("CEDAR RAPIDS", "LINN", "57", "52402", -91.66, 42.0),
           ("DAVENPORT", "SCOTT", "82", "52807", -90.58, 41.54), ("SIOUX CITY", "WOODBURY", "97", "51106", -96.4, 42.5),
           ("IOWA CITY", "JOHNSON", "52", "52240", -91.53, 41.66),
           ("WATERLOO", "BLACK HAWK", "07", "50701", -92.34, 42.5),
           ("AMES", "STORY", "85", "50010", -93.62, 42.03), ("DUBUQUE", "DUBUQUE", "31", "52001", -90.66, 42.5),
           ("COUNCIL BLUFFS", "POTTAWATTA", "78", "51501", -95.86, 41.26),
           ("ANKENY", "POLK", "77", "50021", -93.6, 41.7)
)  # fmt: skip
_CHAINS = (
    "HY-VEE FOOD STORE",
    "FAREWAY STORES",
    "CENTRAL CITY LIQUOR",
    "WAL-MART",
    "KUM & GO",
    "CASEY'S GENERAL STORE",
)
# Category, its number, bottle's usual cost in dollars, how often, month of its peak.
_DRINKS = (("AMERICAN VODKAS", "1031100.0", 6.5, 26, 7), ("CANADIAN WHISKIES", "1012100.0", 9.5, 20, 12),
           ("STRAIGHT BOURBON WHISKIES", "1011200.0", 15.0, 16, 12), ("SPICED RUM", "1062400.0", 10.5, 14, 7),
           ("100% AGAVE TEQUILA", "1022100.0", 19.0, 10, 5), ("WHISKEY LIQUEUR", "1081600.0", 11.0, 8, 12),
           ("IMPORTED BRANDIES", "1052100.0", 21.0, 6, 12))  # fmt: skip
_VENDORS = (
    "SAZERAC COMPANY INC",
    "DIAGEO AMERICAS",
    "JIM BEAM BRANDS",
    "HEAVEN HILL BRANDS",
    "LUXCO INC",
    "PERNOD RICARD",
)
_STORES = 60


def _season(month: Array, peak: Array | int) -> Array:
    return 1 + 0.35 * np.cos(2 * np.pi * (month - peak) / 12)


def _store_name(number: int) -> str:
    return f"{_CHAINS[number % len(_CHAINS)]} #{number + 1} / {_CITIES[number % len(_CITIES)][0]}"


def _iowa() -> pa.Table:
    random, count = generator("iowa_liquor_sales"), 50_000
    date = days("2012-01-03", random.integers(0, 4380, count))
    month = date.astype("datetime64[M]").astype(int) % 12 + 1
    store = weighted(random, 1 / np.sqrt(np.arange(1, _STORES + 1)), count)
    drink = weighted(random, [one[3] for one in _DRINKS], count)
    volume = picked((375, 750, 1000, 1750), weighted(random, (2, 5, 2, 4), count))
    vendor, item = random.integers(0, len(_VENDORS), count), random.integers(0, 40, count)
    cost = picked([one[2] for one in _DRINKS], drink) * (volume / 750) ** 0.85 * (0.7 + item / 60)
    cost = (cost * random.normal(1, 0.02, count)).round(2)
    peak = picked([one[4] for one in _DRINKS], drink)
    bottles = 1 + random.poisson(14 * _season(month, peak) * 1.6 ** -np.log(cost / 7) / (1 + store / 30))
    retail = (cost * 1.5).round(2)
    liters = (bottles * volume / 1000).round(2)
    city = store % len(_CITIES)

    def of_city(at: int) -> Array:
        return picked([one[at] for one in _CITIES], city)

    return pa.table({
        "invoice_and_item_number": [f"INV-{one // 9:08}{one % 9 + 1:05}" for one in range(10**8, 10**8 + count)],
        "date": date, "store_number": picked([str(2500 + one) for one in range(_STORES)], store),
        "store_name": picked([_store_name(one) for one in range(_STORES)], store),
        "address": picked([f"{100 + 37 * one} MAIN ST" for one in range(_STORES)], store),
        "city": of_city(0), "zip_code": of_city(3), "county_number": of_city(2), "county": of_city(1),
        "store_location": picked([f"POINT ({one[4]} {one[5]})" for one in _CITIES], city),
        "category": picked([one[1] for one in _DRINKS], drink),
        "category_name": picked([one[0] for one in _DRINKS], drink),
        "vendor_number": picked([f"{one}.0" for one in (421, 260, 65, 259, 434, 370)], vendor),
        "vendor_name": picked(_VENDORS, vendor), "item_number": (10_000 + 100 * item + drink).astype(str),
        "item_description": [f"{_VENDORS[one].split()[0]} {_DRINKS[kind][0]} {number}"
                             for one, kind, number in zip(vendor, drink, item, strict=True)],
        "pack": picked((24, 12, 12, 6), np.searchsorted((375, 750, 1000, 1750), volume)), "bottle_volume_ml": volume,
        "state_bottle_cost": cost, "state_bottle_retail": retail, "bottles_sold": bottles,
        "sale_dollars": (bottles * retail).round(2), "volume_sold_liters": liters,
        "volume_sold_gallons": (liters * 0.264172).round(2),
    })  # fmt: skip


def _forecast(start: str, many: int, *, told: bool) -> pa.Table:
    """Sales a day and store: by weekday, season and store, with a slow growth."""
    random = generator(f"iowa_liquor_sales_forecasting {start}")
    date, store = (
        one.ravel() for one in np.meshgrid(days(start, np.arange(many)), np.arange(_STORES), indexing="ij")
    )
    month, day = date.astype("datetime64[M]").astype(int) % 12 + 1, date.astype(int)
    weekday = picked((1.0, 0.4, 0.3, 0.8, 1.1, 1.5, 1.3), (day + 3) % 7)
    level = 9000 / (1 + store / 8) * (1 + (day - 18_000) / 4000)
    dollars = (level * weekday * _season(month, 12) * random.lognormal(0, 0.15, len(day))).round(2)
    open_ = random.random(len(day)) > 0.03
    columns = {"date": date, "store_name": picked([_store_name(one) for one in range(_STORES)], store)}
    for name, at in (("city", 0), ("zip_code", 3), ("county", 1)):
        columns[name] = picked([one[at] for one in _CITIES], store % len(_CITIES))
    columns["sale_dollars"] = dollars if told else missing(dollars, np.full(len(day), True))
    return pa.table(columns).filter(pa.array(open_))


# --- thelook ----------------------------------------------------------------------------------------------------------

# Category, department's share of women, usual price in dollars, how many of a hundred are sent back.
_CLOTHES = (("Jeans", 50, 98, 14), ("Sweaters", 50, 75, 11), ("Dresses", 100, 85, 22), ("Shorts", 50, 45, 10),
            ("Swim", 60, 57, 17), ("Active", 50, 50, 9), ("Socks", 40, 19, 4), ("Outerwear & Coats", 50, 145, 15),
            ("Tops & Tees", 50, 41, 10), ("Accessories", 40, 43, 7), ("Intimates", 100, 34, 12), ("Suits", 20, 120, 20)
)  # fmt: skip
_BRANDS = ("Allegra K", "Calvin Klein", "Carhartt", "Hanes", "Volcom", "Nautica", "Levi's", "Quiksilver", "Columbia",
           "Dockers", "Speedo", "Champion", "Diesel", "7 For All Mankind", "True Religion", "Ray-Ban")  # fmt: skip
_SOURCES = ("Search", "Organic", "Facebook", "Email", "Display")
_LIVE = (("China", "Guangdong", "Shenzhen", 22.5, 114.1, 34),
         ("United States", "California", "Los Angeles", 34.1, -118.2, 22),
         ("Brasil", "São Paulo", "São Paulo", -23.6, -46.6, 15), ("South Korea", "Seoul", "Seoul", 37.6, 127.0, 6),
         ("France", "Île-de-France", "Paris", 48.9, 2.35, 5), ("United Kingdom", "England", "London", 51.5, -0.1, 5),
         ("Germany", "Bayern", "München", 48.1, 11.6, 4), ("Spain", "Comunidad de Madrid", "Madrid", 40.4, -3.7, 4),
         ("Japan", "Tokyo", "Tokyo", 35.7, 139.7, 3), ("Australia", "New South Wales", "Sydney", -33.9, 151.2, 2)
)  # fmt: skip
_CENTERS = (("Memphis TN", 35.1174, -89.9711), ("Chicago IL", 41.8369, -87.6847), ("Houston TX", 29.7604, -95.3698),
            ("Los Angeles CA", 34.05, -118.25), ("New Orleans LA", 29.95, -90.0667),
            ("Philadelphia PA", 39.95, -75.1667),
            ("Port Authority of New York/New Jersey NY/NJ", 40.634, -73.7834), ("Mobile AL", 30.6944, -88.0431),
            ("Charleston SC", 32.7833, -79.9333), ("Savannah GA", 32.0167, -81.1167))  # fmt: skip
_FIRST = {
    "F": ("Mary", "Jennifer", "Linda", "Susan", "Amanda", "Laura"),
    "M": ("James", "Michael", "David", "John", "Chris", "Paul"),
}
_LAST = ("Smith", "Johnson", "Williams", "Brown", "Jones", "Garcia", "Miller", "Davis", "Martin", "Lee")
_DAYS = 1800  # until today, in which the shop sold


def _products() -> dict[str, Any]:
    random, count = generator("thelook products"), 3_000
    kind, brand = random.integers(0, len(_CLOTHES), count), random.integers(0, len(_BRANDS), count)
    women = random.random(count) * 100 < picked([one[1] for one in _CLOTHES], kind)
    price = picked([one[2] for one in _CLOTHES], kind) * (0.6 + brand / 18) * random.lognormal(0, 0.3, count)
    names = [f"{_BRANDS[one]} {'Women' if hers else 'Men'}'s {_CLOTHES[what][0]} {number + 1}"
             for number, (one, hers, what) in enumerate(zip(brand, women, kind, strict=True))]  # fmt: skip
    return {
        "id": 1 + np.arange(count), "cost": (price * random.normal(0.48, 0.06, count)).round(2),
        "category": picked([one[0] for one in _CLOTHES], kind), "name": names, "brand": picked(_BRANDS, brand),
        "retail_price": price.round(2), "department": np.where(women, "Women", "Men"),
        "sku": [f"{one * 2_654_435_761 % 2**32:032X}" for one in range(1, count + 1)],
        "distribution_center_id": 1 + random.integers(0, len(_CENTERS), count),
    }  # fmt: skip


def _today() -> str:
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=_DAYS)).isoformat()


def _users() -> dict[str, Any]:
    random, count = generator("thelook users"), 8_000
    live = weighted(random, [one[5] for one in _LIVE], count)
    gender = np.where(random.random(count) < 0.5, "F", "M")
    first = [_FIRST[one][at] for one, at in zip(gender, random.integers(0, 6, count), strict=True)]
    last = picked(_LAST, random.integers(0, len(_LAST), count))
    near = random.normal(0, 0.4, (2, count))
    return {
        "id": 1 + np.arange(count), "first_name": first, "last_name": last,
        "email": [f"{a}{b}{number}@example.com".lower() for number, (a, b) in enumerate(zip(first, last, strict=True))],
        "age": random.integers(12, 71, count), "gender": gender, "state": picked([one[1] for one in _LIVE], live),
        "street_address": [f"{one} Main Street" for one in random.integers(1, 9999, count)],
        "postal_code": random.integers(10_000, 99_999, count).astype(str),
        "city": picked([one[2] for one in _LIVE], live),
        "country": picked([one[0] for one in _LIVE], live),
        "latitude": picked([one[3] for one in _LIVE], live) + near[0],
        "longitude": picked([one[4] for one in _LIVE], live) + near[1],
        "traffic_source": picked(_SOURCES, weighted(random, (70, 15, 6, 5, 4), count)),
        "created_at": moments(_today(), random.random(count) * _DAYS * 0.6 * 86_400),
    }  # fmt: skip


def _sold() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Orders, their items, and the inventory of which they are. Dear things and some kinds are sent back more often,
    by the young above all; what was ordered lately is still on its way."""
    random, orders = generator("thelook orders"), 16_000
    products, users = _products(), _users()
    user = random.integers(0, len(users["id"]), orders)
    ago = np.sort(_DAYS * (1 - random.beta(2.2, 1, orders)))[::-1]  # it grows
    created = moments(_today(), (_DAYS - ago) * 86_400)
    many = 1 + weighted(random, (70, 20, 6, 4), orders)
    order = np.repeat(np.arange(orders), many)
    product = random.integers(0, len(products["id"]), len(order))
    back = picked([one[3] / 100 for one in _CLOTHES], _places(products["category"][product]))
    dear = products["retail_price"][product] / 150
    chance = np.bincount(order, back * (0.6 + dear) * (1.5 - users["age"][user[order]] / 70), orders) / many
    drawn = random.random(orders)
    late = np.where(ago < 2, "Processing", "Shipped")
    cancelled, returned = drawn > 0.88, drawn < np.clip(chance, 0.01, 0.7)
    status = np.where(
        cancelled, "Cancelled", np.where(ago < 5, late, np.where(returned, "Returned", "Complete"))
    )
    status = np.where((status == "Complete") & (random.random(orders) < 0.15), "Shipped", status)
    waits = random.gamma(2, 0.7, (3, orders)) * 86_400
    shipped, delivered = created + _micros(waits[0]), created + _micros(waits[0] + 86_400 + waits[1])
    on_its_way = np.isin(status, ("Processing", "Cancelled"))
    here = ~np.isin(status, ("Complete", "Returned"))
    times = {
        "created_at": pa.array(created), "shipped_at": missing(shipped, on_its_way),
        "delivered_at": missing(delivered, here),
        "returned_at": missing(delivered + _micros(86_400 + waits[2]), status != "Returned"),
    }  # fmt: skip
    of_order = {
        "order_id": 1 + np.arange(orders), "user_id": 1 + user, "status": status, "gender": users["gender"][user],
        **times, "num_of_item": many,
    }  # fmt: skip
    items = {
        "id": 1 + np.arange(len(order)), "order_id": 1 + order, "user_id": 1 + user[order], "product_id": 1 + product,
        "inventory_item_id": 1 + np.arange(len(order)), "status": status[order],
        **{name: times[name].take(pa.array(order)) for name in times},
        "sale_price": products["retail_price"][product],
    }  # fmt: skip
    kept = {f"product_{one}": np.asarray(products[one], dtype=object)[product]
            for one in ("category", "name", "brand", "department", "sku")}  # fmt: skip
    inventory = {
        "id": items["id"], "product_id": items["product_id"], "created_at": created[order] - _micros(30 * 86_400),
        "sold_at": created[order], "cost": products["cost"][product], **kept,
        "product_retail_price": items["sale_price"],
        "product_distribution_center_id": products["distribution_center_id"][product],
    }  # fmt: skip
    return of_order, items, inventory


def _micros(seconds: Any) -> Any:
    return (np.asarray(seconds) * 1_000_000).astype("timedelta64[us]")


def _places(categories: Array) -> Array:
    at = {one[0]: number for number, one in enumerate(_CLOTHES)}
    return np.array([at[one] for one in categories])


def _centers() -> pa.Table:
    rows = [
        {"id": at, "name": one[0], "latitude": one[1], "longitude": one[2]}
        for at, one in enumerate(_CENTERS, 1)
    ]
    return pa.Table.from_pylist(rows)


_TIMES = "created_at TIMESTAMP, shipped_at TIMESTAMP, delivered_at TIMESTAMP, returned_at TIMESTAMP"
_SALES = (
    "invoice_and_item_number STRING, date DATE, store_number STRING, store_name STRING, address STRING, city STRING, "
    "zip_code STRING, store_location GEOGRAPHY, county_number STRING, county STRING, category STRING, "
    "category_name STRING, vendor_number STRING, vendor_name STRING, item_number STRING, item_description STRING, "
    "pack INT64, bottle_volume_ml INT64, state_bottle_cost FLOAT64, state_bottle_retail FLOAT64, bottles_sold INT64, "
    "sale_dollars FLOAT64, volume_sold_liters FLOAT64, volume_sold_gallons FLOAT64"
)
_DAY = "date DATE, store_name STRING, city STRING, zip_code STRING, county STRING, sale_dollars FLOAT64"
_LOOK = f"of a shop {_SIMULATED}, dated back from the day on which it was made"

TABLES = (
    PublicTable("iowa_liquor_sales.sales", f"50,000 sales of 60 stores {_SIMULATED}, 2012 to 2023", _SALES, _iowa),
    PublicTable(
        "iowa_liquor_sales_forecasting.2020_sales_train", f"two years of 60 stores' days {_SIMULATED}", _DAY,
        lambda: _forecast("2019-01-02", 729, told=True),
    ),
    PublicTable(
        "iowa_liquor_sales_forecasting.2021_sales_predict", "150 days of 60 stores, without their sales", _DAY,
        lambda: _forecast("2021-01-01", 150, told=False),
    ),
    PublicTable(
        "thelook_ecommerce.products", f"3,000 products {_LOOK}",
        "id INT64, cost FLOAT64, category STRING, name STRING, brand STRING, retail_price FLOAT64, department STRING, "
        "sku STRING, distribution_center_id INT64", lambda: pa.table(_products()), together=True,
    ),
    PublicTable(
        "thelook_ecommerce.users", f"8,000 users {_LOOK}",
        "id INT64, first_name STRING, last_name STRING, email STRING, age INT64, gender STRING, state STRING, "
        "street_address STRING, postal_code STRING, city STRING, country STRING, latitude FLOAT64, longitude FLOAT64, "
        "traffic_source STRING, created_at TIMESTAMP", lambda: pa.table(_users()), together=True,
    ),
    PublicTable(
        "thelook_ecommerce.orders", f"16,000 orders {_LOOK}",
        "order_id INT64, user_id INT64, status STRING, gender STRING, created_at TIMESTAMP, returned_at TIMESTAMP, "
        "shipped_at TIMESTAMP, delivered_at TIMESTAMP, num_of_item INT64", lambda: pa.table(_sold()[0]), together=True,
    ),
    PublicTable(
        "thelook_ecommerce.order_items", f"the orders' items {_LOOK}",
        f"id INT64, order_id INT64, user_id INT64, product_id INT64, inventory_item_id INT64, status STRING, {_TIMES}, "
        "sale_price FLOAT64", lambda: pa.table(_sold()[1]), together=True,
    ),
    PublicTable(
        "thelook_ecommerce.inventory_items", f"what was sold {_LOOK}",
        "id INT64, product_id INT64, created_at TIMESTAMP, sold_at TIMESTAMP, cost FLOAT64, product_category STRING, "
        "product_name STRING, product_brand STRING, product_retail_price FLOAT64, product_department STRING, "
        "product_sku STRING, product_distribution_center_id INT64", lambda: pa.table(_sold()[2]), together=True,
    ),
    PublicTable(
        "thelook_ecommerce.distribution_centers", "ten American cities",
        "id INT64, name STRING, latitude FLOAT64, longitude FLOAT64", _centers, together=True,
    ),
)  # fmt: skip
