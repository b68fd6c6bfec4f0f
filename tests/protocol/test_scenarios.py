"""The protocol in every order of its steps, with faults between any two of them."""

from dataclasses import replace

import pytest

from taskqueue_operator import assembly
from tests.protocol import operators
from tests.protocol.explorer import Found, explore
from tests.protocol.scenarios import ALWAYS, SCENARIOS
from tests.protocol.world import EPOCH, to_millis


def describe(found: Found) -> str:
    """Return what is wrong and how it comes to that."""
    return "\n".join([str(found.violation), *found.trace])


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_order_ends_well(name: str) -> None:
    found = explore(SCENARIOS[name])
    assert found.violation is None, describe(found)
    assert found.ends


@pytest.mark.parametrize("name", ALWAYS)
def test_with_claim_always_no_attempt_is_ever_started_twice(name: str) -> None:
    found = explore(replace(ALWAYS[name], strict=True))
    assert found.violation is None, describe(found)
    assert found.ends


@pytest.mark.parametrize("name", ["one fault of a worker", "two lost connections or nodes"])
def test_the_same_faults_show_the_window_of_claim_adaptive(name: str) -> None:
    found = explore(replace(ALWAYS[name], strict=True, always=False))
    assert found.violation == "attempt 1 of a1 is started twice"


def test_the_model_starts_an_operator_with_the_real_margin() -> None:
    assert to_millis(EPOCH + assembly.START_MARGIN) == operators.START_MARGIN
