"""The end of what handlers print, as it is kept and as people see it."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_worker.outcomes import ERROR_LOG_MAX_BYTES
from taskqueue_worker.printed import Printed, last_lines


@pytest.mark.parametrize(
    ("data", "cut", "text"),
    [
        pytest.param(b"", False, "", id="nothing"),
        pytest.param(b"a\nb\n", False, "a\nb", id="all of it"),
        pytest.param(b"tail of a\nb\n", True, "b", id="from a line's beginning"),
        pytest.param(b"one long line\n", True, "one long line", id="or what there is of it"),
        pytest.param(b"\n\n  a\n\n", False, "  a", id="no empty lines around it"),
        pytest.param("żó".encode()[1:], True, "ó", id="no half of a character"),
        pytest.param(b"\xff\xfea", False, "\ufffd\ufffda", id="no UTF-8"),
        pytest.param(b"a\x00\x1b[31mb\x7f\tc", False, "a\ufffd\ufffd[31mb\ufffd\tc", id="controls"),
        pytest.param(b" 10%\r 20%\r\nend", False, " 10%\n 20%\nend", id="carriage returns"),
        pytest.param("\x85".encode(), False, "\ufffd", id="controls beyond ASCII"),
    ],
)
def test_the_last_lines_as_people_see_them(data: bytes, cut: bool, text: str) -> None:
    assert last_lines(data, 100, cut=cut) == text


@given(st.binary(max_size=200), st.integers(1, 60), st.booleans())
def test_they_are_never_more_than_allowed_nor_anything_but_text(
    data: bytes, limit: int, cut: bool
) -> None:
    text = last_lines(data, limit, cut=cut)
    assert len(text.encode()) <= limit
    assert all(char in "\n\t" or char.isprintable() or ord(char) >= 0xA0 for char in text)


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    ours, theirs = os.pipe()
    yield ours, theirs
    for descriptor in (ours, theirs):
        try:
            os.close(descriptor)
        except OSError:
            continue  # closed at its end


async def test_what_is_in_the_pipe_counts_without_waiting(ends: tuple[int, int]) -> None:
    printed = Printed(ends[0])
    os.write(ends[1], b"before\n")
    printed.forget()
    os.write(ends[1], b"one")
    printed.add("two")
    os.write(ends[1], b"three")
    assert printed.last_lines() == "one\ntwo\nthree"
    printed.forget()
    assert printed.last_lines() == ""


async def test_little_is_kept_of_much(ends: tuple[int, int]) -> None:
    printed = Printed(ends[0])
    for n in range(1000):
        os.write(ends[1], b"%9d\n" % n)
        await asyncio.sleep(0)
    text = printed.last_lines()
    assert text.splitlines()[-1].strip() == "999"
    assert ERROR_LOG_MAX_BYTES - 20 < len(text) <= ERROR_LOG_MAX_BYTES
    assert len(printed._kept) <= ERROR_LOG_MAX_BYTES


async def test_the_end_of_it_is_the_end(ends: tuple[int, int]) -> None:
    printed = Printed(ends[0])
    os.write(ends[1], b"last\n")
    os.close(ends[1])
    await asyncio.sleep(0.05)
    assert printed.last_lines() == "last"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ends[0])


async def test_a_log_that_nobody_takes_holds_nobody_up(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        """A standard error on a full disk."""

        def write(self, _data: bytes) -> None:
            raise OSError("no space left")

        @property
        def buffer(self) -> "Full":
            return self

    monkeypatch.setattr("sys.stderr", Full())
    printed = Printed(ends[0])
    os.write(ends[1], b"last\n")
    assert printed.last_lines() == "last"
