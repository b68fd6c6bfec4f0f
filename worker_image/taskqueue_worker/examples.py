"""Handlers to try things out with."""

import time
import unicodedata
from collections import Counter
from typing import Any

from taskqueue_worker.sdk import Context, task

_TOP_WORDS = 5


@task("echo")
def echo(payload: Any) -> Any:
    """Return the payload."""
    return payload


@task("sleep")
def sleep(payload: Any) -> dict[str, float]:
    """Sleep for {"seconds": n}."""
    seconds = float(payload["seconds"])
    time.sleep(seconds)
    return {"slept": seconds}


@task("fail")
def fail(payload: Any) -> None:
    """Fail with {"message": "..."}."""
    raise RuntimeError((payload or {}).get("message", "failed as asked"))


@task("flaky")
def flaky(payload: Any, ctx: Context) -> dict[str, int]:
    """Fail {"failures": n} times, then succeed."""
    if ctx.attempt <= payload["failures"]:
        raise ConnectionError(f"attempt {ctx.attempt} fails as asked")
    return {"attempt": ctx.attempt}


@task("word_count")
def word_count(payload: Any) -> dict[str, Any]:
    """Count words, lines and characters of {"text": "..."}, in any script."""
    text = unicodedata.normalize("NFC", payload["text"])
    words = "".join(c if _in_word(c) else " " for c in text.casefold()).split()
    counts = Counter(words)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP_WORDS]
    return {
        "words": len(words),
        "lines": len(text.splitlines()),
        "characters": len(text),
        "top": [{"word": word, "count": count} for word, count in top],
    }


def _in_word(character: str) -> bool:
    """Return whether a character belongs to a word: letters, their marks, numbers, apostrophes."""
    return character in "'\u2019" or unicodedata.category(character)[0] in "LMN"
