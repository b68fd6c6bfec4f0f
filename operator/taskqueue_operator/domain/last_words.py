"""What a container said before it ended, as far as a condition's message has room for it."""

import json

_CUT = "…"
_WHAT = ("message", "msg")
_WHY = ("error", "err")
"""Where loggers that write JSON put what happened, and what was wrong."""


def last_words(text: str, limit: int) -> str:
    """Return the end of a log, or of what a container left behind, in at most `limit` characters.

    Of a line of JSON what it says to people; of others as many whole lines as there is room for,
    since a traceback is of several.
    """
    kept: list[str] = []
    room = limit
    for line in reversed([line.rstrip() for line in text.splitlines() if line.strip()]):
        said = _said_in_json(line)
        words = line if said is None else said
        if kept and (said is not None or len(words) > room):
            break
        kept.append(cut(words, room))
        room -= len(words) + len("\n")
        if said is not None:
            break
    return "\n".join(reversed(kept)).strip()


def cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, without the words that do not fit."""
    if len(text) <= limit:
        return text
    head = text[: limit - len(_CUT)]
    whole, space, _ = head.rpartition(" ")
    return (whole if space and not text[len(head)].isspace() else head).rstrip() + _CUT


def _said_in_json(line: str) -> str | None:
    """Return what a line of a structured log says; None: it is none, or says nothing."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    texts = [
        next((text for key in keys if isinstance(text := entry.get(key), str) and text.strip()), "")
        for keys in (_WHAT, _WHY)
    ]
    return ": ".join(text.strip() for text in texts if text) or None
