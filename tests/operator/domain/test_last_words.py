"""What a condition shows of what a container said last."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_operator.domain.last_words import cut, last_words

TRACEBACK = """Traceback (most recent call last):
  File "/app/shop.py", line 1, in <module>
    import nowhere
ModuleNotFoundError: No module named 'nowhere'"""


def entry(**fields: object) -> str:
    return json.dumps({"time": "2026-01-02T12:00:00Z", "level": "ERROR", **fields})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("\n \n", "", id="nothing but space"),
        pytest.param("no module named shop\n", "no module named shop", id="a line"),
        pytest.param(TRACEBACK, TRACEBACK, id="a traceback"),
        pytest.param(
            f"{entry(message='started')}\n{entry(message='cannot go on')}\n",
            "cannot go on",
            id="of a log in JSON the last line",
        ),
        pytest.param(f"{entry(message='started')}\n{TRACEBACK}", TRACEBACK, id="after such a log"),
        pytest.param(
            entry(msg="cannot listen", error="address in use"),
            "cannot listen: address in use",
            id="what and why",
        ),
        pytest.param(entry(err="address in use"), "address in use", id="why alone"),
        pytest.param(entry(message="Größe\nund mehr"), "Größe\nund mehr", id="with a line break"),
        pytest.param(entry(message="", msg="said"), "said", id="an empty text is none"),
        pytest.param(entry(code=7), entry(code=7), id="JSON without words"),
        pytest.param(entry(message=7), entry(message=7), id="JSON with another kind of message"),
        pytest.param('["message"]', '["message"]', id="a list"),
        pytest.param(
            'ge", "message": "x"}', 'ge", "message": "x"}', id="a line with its start off"
        ),
        pytest.param("[" * 5000, "[" * 199 + "…", id="JSON beyond all depth"),
        pytest.param(
            "one\n" + "a" * 195 + "\nlast", "a" * 195 + "\nlast", id="as many lines as fit"
        ),
        pytest.param("one\n" + "a" * 196 + "\nlast", "last", id="whole lines only"),
        pytest.param("word " * 50, "word " * 39 + "word…", id="a long line: whole words only"),
        pytest.param(
            entry(message="word " * 50), "word " * 39 + "word…", id="a long message in JSON"
        ),
    ],
)
def test_the_last_words_are_for_people(text: str, expected: str) -> None:
    assert last_words(text, 200) == expected


@given(st.text(), st.integers(1, 50))
def test_they_are_never_longer_than_there_is_room(text: str, limit: int) -> None:
    assert len(last_words(text, limit)) <= limit


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("all of it", 9, "all of it"),
        ("all of it", 8, "all of…"),
        ("all of it", 7, "all of…"),
        ("all of it", 6, "all…"),
        ("unbroken", 5, "unbr…"),
    ],
)
def test_a_cut_leaves_whole_words(text: str, limit: int, expected: str) -> None:
    assert cut(text, limit) == expected
