from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import InvalidArgument
from portico.services.standard.pages import page_size, read_token, write_token

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(JSON, st.lists(st.text(max_size=5), max_size=3))
@settings(deadline=None)
def test_round_trip(cursor: object, query: list[str]) -> None:
    token = write_token(cursor, *query)
    assert read_token(token, *query) == cursor
    assert token.isascii() and not set(token) & set("+/= &")


@given(st.text(max_size=80))
@settings(deadline=None)
def test_made_up_tokens(token: str) -> None:
    if token:
        with pytest.raises(InvalidArgument) as caught:
            read_token(token, "projects/p")
        assert caught.value.violations[0].field == "pageToken"


@given(st.data())
@settings(deadline=None)
def test_changed_tokens(data: st.DataObject) -> None:
    token = write_token([1, "projects/p/models/1"], "projects/p", "", "")
    at = data.draw(st.integers(0, len(token) - 2))  # the last character holds spare bits
    letter = data.draw(st.characters(exclude_characters=token[at]))
    with pytest.raises(InvalidArgument):
        read_token(token[:at] + letter + token[at + 1 :], "projects/p", "", "")


def test_tokens_belong_to_their_query() -> None:
    token = write_token(3, "projects/p", "a=1", "")
    for query in [("projects/q", "a=1", ""), ("projects/p", "a=2", ""), ("projects/p", "a=", "1")]:
        with pytest.raises(InvalidArgument):
            read_token(token, *query)
    assert read_token("", "projects/p") is None


def test_page_sizes() -> None:
    assert page_size(None, default=50, maximum=100) == 50
    assert page_size(0, default=50, maximum=100) == 50
    assert page_size(7, default=50, maximum=100) == 7
    assert page_size(5000, default=50, maximum=100) == 100
    with pytest.raises(InvalidArgument) as caught:
        page_size(-1, default=50, maximum=100)
    assert caught.value.violations[0].field == "pageSize"
