"""Odd numbers and names are refused before anything is measured."""

import argparse

import pytest

from bench.arguments import count, positive, some_of


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "", "1e300"])
def test_a_number_that_nothing_can_be_multiplied_by_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)
    with pytest.raises(argparse.ArgumentTypeError):
        count(text)


def test_numbers_are_read() -> None:
    assert (positive("0.5"), count("3")) == (0.5, 3)
    with pytest.raises(argparse.ArgumentTypeError):
        count("1.5")


def test_parts_come_in_their_own_order() -> None:
    assert some_of("c, a,", ["a", "b", "c"]) == ["a", "c"]


@pytest.mark.parametrize("text", [",", " ", "a,d"])
def test_no_part_or_an_unknown_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="there are: a, b"):
        some_of(text, ["a", "b"])
