"""Commands of the documentation, so that what is tried is what people read."""

from e2e.kubectl import CHECKOUT


def read_command(page: str, word: str) -> str:
    """Return the one `sh` block of a page that holds a word. Raises LookupError."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in text.split("```sh\n")[1:]]
    found = [block for block in blocks if word in block]
    if len(found) != 1:
        raise LookupError(f"docs/{page} has {len(found)} commands with '{word}'")
    return found[0]
