"""How deep JSON may be nested: what a Task may hold, and what has to be read all the same.

The API server stores 10,000 levels. Python reads far less of them: its own limit is 1,000 frames
(https://docs.python.org/3/library/sys.html#sys.setrecursionlimit), and the C code of `json` has
another since 3.12. One object beyond would end the watch of all of them.

Imported by every process that runs handlers, so it must stay light.
"""

import json
import sys
from json import scanner
from typing import Any

NESTING_MAX = 100
"""Levels of a payload or a result. pydantic reads 200, Python's copy.deepcopy less than 500."""

RECURSION_LIMIT = 25_000
"""Frames. 10,000 levels and the envelope of an event take two each, to read as to copy. As
many levels in C, in 3.11, fit into half of a stack of 8 MiB."""


def is_too_deep(value: Any) -> bool:
    """Return whether a JSON value has more than NESTING_MAX levels of lists and objects."""
    layer = [value]
    for _ in range(NESTING_MAX):
        layer = [
            part
            for whole in layer
            if isinstance(whole, list | dict)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
        if not layer:
            return False
    return any(isinstance(part, list | dict) for part in layer)


def allow_deep_json() -> None:
    """Have this process read, and copy, whatever the API server can hold."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    # Behind json.loads, wherever it is called: Kopf and aiohttp take no decoder of ours.
    decoder = json._default_decoder  # type: ignore[attr-defined]
    quick = decoder.scan_once
    patient = scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]

    def scan(text: str, start: int) -> Any:
        try:
            return quick(text, start)
        except RecursionError:
            # Written in Python, so the limit above alone holds for it.
            return patient(text, start)

    decoder.scan_once = scan
