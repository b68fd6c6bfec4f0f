"""That the search can find what is wrong: known bugs are put in, and found."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.protocol import api_server, calls, operators
from tests.protocol.explorer import explore
from tests.protocol.planted import BUGS
from tests.protocol.scenarios import SCENARIOS


def forget() -> None:
    """Forget what was computed by other code."""
    calls.forget_calls()
    operators.forget_tasks()
    api_server.forget_answers()


@pytest.fixture
def _fresh_code() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.mark.usefixtures("_fresh_code")
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = BUGS[name]
    for target, worse in bug.changes.items():
        monkeypatch.setattr(target, worse)
    found = explore(bug.scenario)
    assert found.violation is not None


@pytest.mark.usefixtures("_fresh_code")
@pytest.mark.parametrize("name", BUGS)
def test_without_it_its_scenario_is_well(name: str) -> None:
    scenario = replace(BUGS[name].scenario, ack_first=False)
    if scenario not in SCENARIOS.values():
        found = explore(scenario)
        assert found.violation is None, found.trace
