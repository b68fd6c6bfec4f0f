"""The pure parts of the figures of one slot: names, sizes, and the TaskQueues of each kind."""

import json
import re

import pytest

from bench.messages.kinds import CELLS, KINDS, Sized
from bench.messages.publisher import payload_of
from e2e.manifests import taskqueue
from taskqueue_api.taskqueue import TaskQueue


def test_figures_have_names_of_their_own() -> None:
    names = [cell.figure for cell in CELLS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", name) for name in names)
    assert Sized("python", 0.1, 1).figure == "messages_per_slot_python_0_1_kib"
    assert Sized("exec", 32, 1).figure == "messages_per_slot_exec_32_kib"


def test_kinds_are_compared_with_the_same_payload() -> None:
    assert {cell.kind for cell in CELLS if cell.kib == 0.1} == set(KINDS)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.figure)
def test_payload_has_as_many_bytes_as_the_publisher_is_told(cell: Sized) -> None:
    (option,) = cell.options
    size = int(option.removeprefix("--bytes="))
    assert len(json.dumps(payload_of(size))) == size == round(cell.kib * 1024)


@pytest.mark.parametrize("kind", KINDS)
def test_taskqueue_of_each_kind_is_valid(kind: str) -> None:
    queue = TaskQueue.model_validate(taskqueue("one", KINDS[kind]))
    assert [name for name, there in queue.spec.workers.handlers if there] == [kind]
