"""The store behind Cloud Storage, without a server: listings against a model, files, sweeps, pins, gs://."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from collections import Counter

import google_crc32c
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portico.errors import InvalidArgument, NotFound
from portico.host import contents
from portico.ids import RandomIds
from portico.store import home
from portico.store.database import Database
from portico.store.gcs import Gcs
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import soft_deleted
from portico.store.objects.hashes import combine_crc32c, encode_crc32c
from portico.store.objects.listing import Query, glob_pattern, list_page, matching, successor
from portico.store.objects.sweep import sweep
from portico.store.tables.storage import objects as table

pytestmark = pytest.mark.usefixtures("either_store")


@pytest.fixture
def gcs(tmp_path):
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    with database.write() as connection:
        objects_buckets.insert(connection, "bucket", "p", {"location": "US"}, 1.0)
    yield Gcs(tmp_path, database)
    database.close()


@pytest.fixture(scope="module")
def listed(either_store, tmp_path_factory):
    home = tmp_path_factory.mktemp("listed")
    database = Database(home)
    database.create_tables()
    with database.write() as connection:
        for name in ("plain", "versioned"):
            fields = {"location": "US", "versioning": {"enabled": name == "versioned"}}
            objects_buckets.insert(connection, name, "p", fields, 1.0)
    return database


def fill(database, bucket, names):
    """Puts generations of `names` there as `objects.put` does, but many at once."""
    latest: dict[str, int] = {}
    rows = []
    for number, name in enumerate(names):
        if name in latest and bucket == "plain":
            continue
        if name in latest:
            rows[latest[name]]["state"] = objects.NONCURRENT
        latest[name] = len(rows)
        rows.append(
            {
                "bucket": bucket,
                "name": name,
                "generation": 1000 + number,
                "state": objects.LIVE,
                "metageneration": 1,
                "file": f"{bucket}{number}",
                "size": 0,
                "crc32c": "AAAAAA==",
                "updated": 1.0,
                "fields": b"{}",
            }
        )
    with database.write() as connection:
        connection.execute(table.delete().where(table.c.bucket == bucket))
        if rows:
            connection.execute(table.insert(), rows)


def walk(database, query, limit):
    items, prefixes, position, pages = [], [], None, 0
    while True:
        with database.read() as connection:
            page = list_page(connection, query, limit, position)
        assert len(page.items) + len(page.prefixes) <= limit + (1 if query.trailing_delimiter else 0)
        items += [row.name for row in page.items]
        prefixes += page.prefixes
        position, pages = page.next, pages + 1
        if position is None:
            return items, prefixes
        assert pages < 1000


def model(names, query):
    """The documentation's words for a listing, as slowly as can be."""
    items, prefixes = [], []
    for name in sorted(names, key=str.encode):
        if not name.startswith(query.prefix) or name < query.start or (query.end and name >= query.end):
            continue
        cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        if cut < 0:
            items.append(name)
            continue
        prefix = name[: cut + len(query.delimiter)]
        if prefix not in prefixes:
            prefixes.append(prefix)
        if query.trailing_delimiter and name == prefix:
            items.append(name)
    return items, prefixes


letters = st.text(alphabet="ab/é\U0001f600\ud7ff\ue000", min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(letters, max_size=25),
    prefix=st.text(alphabet="ab/\U0001f600", max_size=2),
    delimiter=st.sampled_from(["", "/", "b", "a/"]),
    start=st.text(alphabet="ab/", max_size=2),
    end=st.text(alphabet="ab/é", max_size=2),
    limit=st.integers(1, 9),
    trailing=st.booleans(),
    bucket=st.sampled_from(["plain", "versioned"]),
)
@example(
    names=["/", "/"], prefix="", delimiter="/", start="", end="", limit=1, trailing=True, bucket="versioned"
)
def test_listings_are_what_the_documentation_says(
    listed, names, prefix, delimiter, start, end, limit, trailing, bucket
):
    fill(listed, bucket, names)
    versions = bucket == "versioned"
    query = Query(bucket, prefix, delimiter, start, end, versions=versions, trailing_delimiter=trailing)
    wanted_items, wanted_prefixes = model(names if versions else set(names), query)
    items, prefixes = walk(listed, query, limit)
    assert prefixes == wanted_prefixes
    assert items == wanted_items


@pytest.fixture
def steps(listed, either_store):
    """How many thousand steps of SQLite's machine the database has taken."""
    taken = Counter()
    if either_store == "postgresql":  # it tells nobody
        yield taken
        return
    with listed.read() as connection:
        raw = connection.connection.dbapi_connection
        raw.set_progress_handler(lambda: taken.update(["thousands"]), 1000)
    yield taken
    raw.set_progress_handler(None, 0)


def test_ten_thousand_objects_page_fast_and_prefixes_are_skipped(listed, steps):
    fill(listed, "plain", [f"dir{i % 3}/{i:05}" for i in range(10_000)])
    steps.clear()
    items, _ = walk(listed, Query("plain", prefix="dir1/"), 1000)
    assert len(items) == 3333
    paged = steps.total()
    steps.clear()
    assert walk(listed, Query("plain", delimiter="/"), 1000) == ([], ["dir0/", "dir1/", "dir2/"])
    # 3,333 rows; and a batch of 500 for each prefix, where all rows were more than 350.
    assert paged < 200 and steps.total() < 100


@pytest.mark.parametrize(
    ("glob", "names", "other"),
    [
        ("*.csv", ["a.csv", ".csv"], ["a/b.csv", "a.csv2"]),
        ("**.csv", ["a.csv", "a/b/c.csv"], ["a"]),
        ("a/**/z", ["a/b/z", "a/b/c/z"], ["a/z2"]),
        ("**/z", ["z", "a/z", "a/b/z"], ["az", "a/bz"]),
        ("{**/z,y}", ["z", "a/z", "y"], ["a/y"]),
        ("a**/z", ["a/z", "ab/z", "a/b/z"], ["z", "az"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[!a]x", ["bx"], ["ax"]),
        ("{a,bc}*", ["a1", "bc"], ["b"]),
        (r"\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a b-é\n*", ["a b-é\nx"], ["a b-é"]),
        ("*a" * 30 + "*b", ["a" * 30 + "b"], ["a" * 1000]),  # as long as it is, whatever stands in it
    ],
)
def test_globs(glob, names, other):
    pattern = glob_pattern(glob)
    assert all(matching(pattern, names)) and not any(matching(pattern, other))


@given(st.text(alphabet="ab[]{}!^*?\\-,", max_size=8))
def test_every_glob_is_a_pattern_or_refused(glob):
    try:
        assert matching(glob_pattern(glob), ["ab", "-"]) is not None
    except InvalidArgument:
        pass


@given(letters, letters)
def test_the_successor_of_a_prefix(prefix, more):
    beyond = successor(prefix)
    assert beyond is not None and prefix <= prefix + more < beyond
    beyond.encode()


@given(st.binary(max_size=50), st.binary(max_size=5000))
def test_checksums_combine(first, second):
    whole = encode_crc32c(google_crc32c.value(first + second))
    pieces = [encode_crc32c(google_crc32c.value(part)) for part in (first, second)]
    assert combine_crc32c(*pieces, len(second)) == whole


def test_what_is_written_is_found_read_and_matched(gcs, tmp_path):
    row = gcs.write("gs://bucket/data/a.csv", b"x,y\n1,2\n", "text/csv")
    assert row.md5 == base64.b64encode(hashlib.md5(b"x,y\n1,2\n").digest()).decode()
    (tmp_path / "local").write_bytes(b"b")
    gcs.write("gs://bucket/data/b.csv", tmp_path / "local")
    gcs.write("gs://bucket/data/deep/c.csv", iter([b"c", b"c"]))
    gcs.write("gs://bucket/data*", b"a name with a star")
    assert [r.name for r in gcs.match("gs://bucket/data/*.csv")] == ["data/a.csv", "data/b.csv"]
    assert [r.name for r in gcs.match("gs://bucket/data/**.csv")][-1] == "data/deep/c.csv"
    assert gcs.match("gs://bucket/data*")[0].name == "data*"
    assert [r.size for r in gcs.under("gs://bucket/data")] == [8, 1, 2]
    with gcs.open(gcs.find("gs://bucket/data/a.csv")) as file:
        assert file.read() == b"x,y\n1,2\n"
    assert sorted(p.name for p in gcs.download("gs://bucket/data/", tmp_path / "d")) == [
        "a.csv",
        "b.csv",
        "c.csv",
    ]
    assert (tmp_path / "d/deep/c.csv").read_bytes() == b"cc"
    for bad in ("s3://x", "gs://", "bucket/x"):
        with pytest.raises(InvalidArgument):
            gcs.match(bad)
    for missing in ("gs://bucket/none", "gs://bucket/none*", "gs://nobucket/x"):
        with pytest.raises(NotFound):
            gcs.match(missing)


def test_a_name_does_not_lead_out_of_a_directory(gcs, tmp_path):
    gcs.write("gs://bucket/m/../../evil", b"x")
    with pytest.raises(InvalidArgument):
        gcs.download("gs://bucket/m", tmp_path / "d")
    assert not (tmp_path / "evil").exists()


def test_a_writer_that_raises_leaves_nothing(gcs):
    with pytest.raises(RuntimeError), gcs.writer("gs://bucket/half") as out:
        out.write(b"x" * 1000)
        raise RuntimeError
    with pytest.raises(NotFound):
        gcs.find("gs://bucket/half")
    assert not [f for _, _, files in os.walk(gcs.home / "objects") for f in files]


def test_pins_keep_what_is_overwritten_and_deleted(gcs):
    first = gcs.write("gs://bucket/x", b"one")
    gcs.pin([first], "datasets/1")
    gcs.pin([first], "datasets/1")
    gcs.pin([first], "datasets/2")
    second = gcs.write("gs://bucket/x", b"two")
    assert gcs.find("gs://bucket/x").generation == second.generation
    assert gcs.open(gcs.find("gs://bucket/x", first.generation)).read() == b"one"
    with gcs.database.read() as connection:
        assert objects.find(connection, "bucket", "x", first.generation) is None  # not for the API
    gcs.unpin("datasets/1")
    assert gcs.path(first).exists()
    gcs.unpin("datasets/2")
    assert not gcs.path(first).exists()
    with pytest.raises(NotFound):
        gcs.find("gs://bucket/x", first.generation)
    with pytest.raises(NotFound):
        gcs.pin([first], "datasets/3")
    gcs.unpin("never held")
    assert gcs.open(second).read() == b"two"


def test_the_sweep_takes_what_a_crash_left_and_nothing_else(gcs):
    kept = gcs.write("gs://bucket/kept", b"kept")
    left, fd = objects_files.create(gcs.home, RandomIds())
    left = objects_files.path_of(gcs.home, left)
    os.write(fd, b"left by a crash")
    os.close(fd)
    foreign = objects_files.path_of(gcs.home, "ab" * 16)
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(b"of no run of this database")
    writing, go_on = threading.Event(), threading.Event()

    def write():
        with gcs.writer("gs://bucket/slow") as out:
            out.write(b"slow")
            writing.set()
            go_on.wait(240)

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait(240)
    assert sweep(gcs.database, gcs.home, time.time()) == 1
    go_on.set()
    thread.join()
    assert not left.exists() and foreign.exists()
    assert gcs.open(kept).read() == b"kept" and gcs.open(gcs.find("gs://bucket/slow")).read() == b"slow"


def test_generations_grow_even_when_the_clock_does_not(gcs):
    class Still:
        def now(self) -> float:
            return 1000.0

        def monotonic(self) -> float:
            return 0.0

    still = Gcs(gcs.home, gcs.database, Still())
    generations = [still.write(f"gs://bucket/{i % 2}", b"x").generation for i in range(4)]
    assert generations == [1_000_000_000 + i for i in range(4)]


def test_files_are_copied_where_links_do_not_work(gcs, monkeypatch):
    from portico.store.objects.files import FileCopy

    row = gcs.write("gs://bucket/x", b"payload")
    source = objects.StoredFile(row.file, row.size, row.crc32c, row.md5)

    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    with FileCopy(gcs.home, RandomIds(), [source]) as made:
        assert objects_files.path_of(gcs.home, made.stored.id).read_bytes() == b"payload"
        assert (made.stored.crc32c, made.stored.md5) == (row.crc32c, row.md5)
    assert not objects_files.path_of(gcs.home, made.stored.id).exists()


def test_what_is_under_a_customers_key_is_read_by_no_job(gcs, tmp_path):
    key = bytes(32)
    with objects_files.FileWriter(gcs.home, gcs.ids, key) as writer:
        writer.write(b"secret")
        stored = writer.finish()
        with gcs.database.write() as connection:
            bucket = objects_buckets.get(connection, "bucket")
            fields = {objects.SEALED: {"encryptionAlgorithm": "AES256", "keySha256": "x"}}
            row, _ = objects.put(connection, bucket, "a/o", stored, fields, 2.0)
        writer.keep()
    assert (row.size, row.crc32c, row.md5) == (6, "", None)
    for read in (
        lambda: gcs.path(row),
        lambda: gcs.open(row),
        lambda: gcs.pin([row], "somebody"),
        lambda: gcs.download("gs://bucket/a", tmp_path / "down"),
        lambda: gcs.copy("gs://bucket/a", "gs://copies/a", "p"),
    ):
        with pytest.raises(InvalidArgument, match=r"gs://bucket/a/o.*rewrite the object without one"):
            read()
    with gcs.database.read() as connection:
        assert objects_buckets.find(connection, "copies") is None
    sweep(gcs.database, gcs.home, 3.0)
    assert objects_files.path_of(gcs.home, row.file).exists()
    with gcs.database.read() as connection:  # which a check of the home can't open
        [part] = contents.parts(gcs.home, connection)
    assert contents.fault(gcs.home, part) == ""


def keeping(gcs, name="kept"):
    """A bucket that keeps what is deleted for a week."""
    fields = {"location": "US", "softDeletePolicy": {"retentionDurationSeconds": str(7 * 86400)}}
    with gcs.database.write() as connection:
        return objects_buckets.insert(connection, name, "p", fields, 1.0)


def delete(gcs, row, now):
    with gcs.database.write() as connection:
        bucket = objects_buckets.get(connection, row.bucket)
        assert objects.delete(connection, bucket, row, now) == []


def test_what_is_soft_deleted_goes_at_its_time(gcs):
    bucket = keeping(gcs)
    early, late, other = (gcs.write(f"gs://kept/{name}", b"x" * 10) for name in ("early", "late", "other"))
    delete(gcs, early, 1000.0)
    delete(gcs, late, 2000.0)
    assert sweep(gcs.database, gcs.home, 3000.0) == 0
    with gcs.database.read() as connection:
        assert soft_deleted.size(connection) == 20
    end = 1000.0 + 7 * 86400
    assert soft_deleted.expire(gcs.database, gcs.home, end - 1) == 0
    assert gcs.path(early).exists()
    with gcs.database.read() as connection:
        assert soft_deleted.get(connection, "kept", "early", early.generation, end - 1).deleted == 1000.0
        with pytest.raises(NotFound):  # also where nobody has taken it away yet
            soft_deleted.get(connection, "kept", "early", early.generation, end)
        assert list_page(connection, Query("kept", soft_deleted_at=end), 10).items[0].name == "late"
    assert soft_deleted.expire(gcs.database, gcs.home, end) == 1
    assert [gcs.path(one).exists() for one in (early, late, other)] == [False, True, True]
    # The bucket is kept as long as what it has kept; then both go.
    delete(gcs, other, 4000.0)
    with gcs.database.write() as connection:
        soft_deleted.delete_bucket(connection, bucket, 3000.0)
        kept = soft_deleted.get_bucket(connection, "kept", bucket.generation, 5000.0)
    assert kept.hard_deleted == 4000.0 + 7 * 86400
    assert soft_deleted.expire(gcs.database, gcs.home, kept.hard_deleted - 1) == 1
    assert soft_deleted.expire(gcs.database, gcs.home, kept.hard_deleted) == 1
    assert not list((gcs.home / "objects").glob("*/*"))
    with gcs.database.write() as connection, pytest.raises(NotFound):
        soft_deleted.restore_bucket(connection, "kept", bucket.generation, 5000.0)


def test_pins_outlive_a_soft_deletion(gcs):
    bucket = keeping(gcs)
    row = gcs.write("gs://kept/o", b"pinned")
    gone = gcs.write("gs://kept/gone", b"x")
    gcs.pin([row], "holder")
    delete(gcs, row, 1000.0)
    delete(gcs, gone, 1000.0)
    assert gcs.find("gs://kept/o", row.generation).file == row.file
    with pytest.raises(NotFound):
        gcs.find("gs://kept/gone", gone.generation)  # nobody has pinned it
    with gcs.database.write() as connection:
        soft_deleted.delete_bucket(connection, bucket, 1000.0)
    assert gcs.open(gcs.find("gs://kept/o", row.generation)).read() == b"pinned"
    assert soft_deleted.expire(gcs.database, gcs.home, 1e9) == 1
    assert gcs.open(gcs.find("gs://kept/o", row.generation)).read() == b"pinned"
    gcs.unpin("holder")
    assert not list((gcs.home / "objects").glob("*/*"))


def test_what_is_pinned_goes_when_its_pin_and_its_time_have(gcs):
    keeping(gcs)
    row = gcs.write("gs://kept/o", b"pinned")
    gcs.pin([row], "holder")
    delete(gcs, row, 1000.0)
    gcs.unpin("holder")
    assert gcs.path(row).exists()  # it can be restored
    gcs.pin([gcs.write("gs://kept/p", b"x")], "holder")
    with gcs.database.write() as connection:
        garbage = soft_deleted.free(connection, "kept")
    assert garbage == [row.file]
