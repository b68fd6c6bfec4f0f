"""JSON as deep as the API server can hold it."""

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from taskqueue_api.nesting import NESTING_MAX, RECURSION_LIMIT, is_too_deep

DEEPEST = 10_000
"""Levels that the API server stores."""


@pytest.mark.parametrize("one", ["[%s]", '{"a": %s}', '{"a": [%s], "b": 1}'])
def test_levels_of_lists_and_objects_are_counted(one: str) -> None:
    levels = one.count("[") + one.count("{")
    text = "1"
    for _ in range(NESTING_MAX // levels):
        text = one % text
    assert not is_too_deep(json.loads(text))
    assert is_too_deep(json.loads(one % text))


@pytest.mark.parametrize("value", [None, "[" * 1000, [], [[1] * 1000] * 10], ids=lambda _: "flat")
def test_what_is_wide_is_not_deep(value: Any) -> None:
    assert not is_too_deep(value)


READ_EVENT = """
import asyncio, copy, json, sys
from taskqueue_api.nesting import allow_deep_json, is_too_deep

opening, closing, levels = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def read():
    payload = opening * levels + "1" + closing * levels
    event = json.loads('{"type": "ADDED", "object": {"spec": {"payload": %s}}}' % payload)
    assert is_too_deep(copy.deepcopy(event)["object"]["spec"]["payload"])
    try:
        json.loads(opening * 1_000_000)
    except RecursionError:
        print("read")

allow_deep_json()
asyncio.run(read())
"""


@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")])
def test_the_deepest_event_is_read_and_copied_as_kopf_does(opening: str, closing: str) -> None:
    # In a process of its own: the limits hold for a whole process.
    found = subprocess.run(
        [sys.executable, "-c", READ_EVENT, opening, closing, str(DEEPEST)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout.strip(), found.stderr) == ("read", "")


def test_without_it_the_event_would_be_the_end_of_the_watch() -> None:
    assert sys.getrecursionlimit() < RECURSION_LIMIT
    value: Any = 1
    for _ in range(DEEPEST):
        value = [value]
    with pytest.raises(RecursionError):
        copy.deepcopy(value)
