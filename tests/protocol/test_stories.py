"""Orders of steps that have a name, since somebody thought of them, or met them."""

from dataclasses import replace
from typing import Any

from tests.protocol.play import Play
from tests.protocol.scenarios import AGAIN, ALL_FAULTS, ANY_END, TWICE
from tests.protocol.world import FAILURE, Scenario

PUBLISHED = ("create a", "operator sees a1", "publication of a1: first")
"""A Task is created and published."""

FIRST = "worker-0-0/0"
SECOND = "worker-1-0/0"


def play(**changes: Any) -> Play:
    """Return a play in which anything may go wrong when it is told to."""
    return Play(replace(Scenario(faults=ALL_FAULTS, budget=3, patience=9), **changes))


def test_labels_are_edited_between_the_read_and_the_claim_of_a_pending_task() -> None:
    run = play(script=("create a", "label a"))
    run.do(*PUBLISHED, f"{FIRST} gets", f"broker loses {FIRST}", f"{FIRST} notices")
    run.do(f"{SECOND} gets", "slot takes it", "reads its Task")
    run.do("label a", f"{SECOND}: a1, attempt 1: writes Running")
    assert run.status()["phase"] == "Pending"
    run.rest()
    assert run.status()["phase"] == "Succeeded"
    assert run.starts() == [("a1", 1)]


def test_a_worker_dies_between_the_outcome_and_the_message_of_the_next_attempt() -> None:
    run = play(policy=TWICE, outcomes=(FAILURE,))
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it", "ends as Failure", "writes Retrying")
    run.do(f"{FIRST} dies")
    assert not run.world.ladder
    run.do(f"{SECOND} gets", "slot takes it", "reads", "PublishNext published")
    run.rest()
    assert run.starts() == [("a1", 1), ("a1", 2)]
    assert run.status()["attempts"] == 2


def test_a_copy_lies_beside_the_original_in_a_queue_that_nobody_reads() -> None:
    run = play()
    run.do(*PUBLISHED, "not confirmed", "announces another publication", "5 s pass")
    run.do("5 s pass", "may be published again", "publication of a1: first")
    assert len(run.world.ready) == 2
    # The original is plain, and the read shows that it is not alone.
    run.do(f"{FIRST} gets a message", f"{SECOND} gets a message")
    run.do(f"{FIRST}: a1, attempt 1: a slot", f"{SECOND}: a1, attempt 1: a slot")
    run.do(f"{FIRST}: a1, attempt 1: reads", f"{SECOND}: a1, attempt 1: reads")
    run.rest()
    assert run.starts() == [("a1", 1)]


def test_the_worker_of_a_deleted_task_finishes_when_another_has_its_name() -> None:
    run = play(script=AGAIN)
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it")
    run.do("delete a", "create a", "ends as Success", "writes Succeeded")
    assert run.status()["phase"] == "Pending"
    run.rest()
    assert run.starts() == [("a1", 1), ("a3", 1)]
    assert run.status()["phase"] == "Succeeded"


def test_a_container_is_started_again_in_the_same_pod() -> None:
    run = play(workers=1)
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it", "1 s pass", "is announced")
    run.do(f"{FIRST} dies")
    run.rest()
    assert run.status()["attempts"] == 2
    assert run.status()["worker"]["instance"] == "worker-0-0/1"


def test_a_lost_worker_comes_back_with_an_outcome() -> None:
    run = play(outcomes=ANY_END)
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it", "1 s pass", "is announced")
    run.do(f"node of {FIRST} is cut off", f"{FIRST}: a1, attempt 1: ends as Failure")
    run.do(f"{SECOND} gets", "slot takes it", "reads its Task", "reads pod", "writes Running")
    run.do(f"node of {FIRST} is back", f"{FIRST}: a1, attempt 1: writes Failed")
    assert run.status()["phase"] == "Running"
    run.rest()
    assert run.status()["phase"] == "Succeeded"
    assert run.status()["attempts"] == 2
    assert not run.world.dead


def test_a_task_is_created_while_the_operator_lists() -> None:
    run = play(script=("create a", "create b"))
    run.do(*PUBLISHED, "operator dies", "operator starts", "create b")
    run.do("sees a1 in its list", "sees b2 in its list", "list has ended")
    run.rest()
    assert run.starts() == [("a1", 1), ("b2", 1)]


def test_a_message_comes_back_to_the_worker_that_still_runs_its_task() -> None:
    """The worker that took the Task over was lost too; the message must not be acknowledged."""
    run = play()
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it", f"broker loses {FIRST}")
    run.do(f"{SECOND} gets", "slot takes it", "reads", "writes Running", f"{SECOND} dies")
    run.do(f"{FIRST} notices", f"{FIRST} gets a message of a1 again")
    run.do("ends as Success", "writes Succeeded", "reads its Task")
    run.rest()
    assert run.status()["phase"] == "Succeeded"
    assert run.status()["attempts"] == 2


def test_a_message_comes_back_while_its_task_is_read() -> None:
    """Meanwhile another worker has run the Task and was lost; the read is out of date."""
    run = play()
    run.do(*PUBLISHED, "5 s pass", f"{FIRST} gets", "slot takes it", "reads its Task")
    run.do(f"broker loses {FIRST}", f"{SECOND} gets", "slot takes it")
    run.do(f"{SECOND}: a1, attempt 1: reads", "writes Running", f"{SECOND}: a1, attempt 1: starts")
    run.do(f"broker loses {SECOND}", f"{SECOND}: a1, attempt 1: ends", "writes Succeeded")
    run.do(f"{FIRST} notices", f"{FIRST} gets a message of a1 again")
    run.rest()
    assert run.starts() == [("a1", 1)]


def test_a_worker_of_the_run_before_comes_back_with_its_outcome() -> None:
    """It was cut off, another wrote that it was lost, and the Task was run again meanwhile."""
    run = play(script=("create a", "rerun a"), outcomes=ANY_END)
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it", "1 s pass", "is announced")
    run.do(f"node of {FIRST} is cut off", f"{SECOND} gets", "slot takes it", "reads its Task")
    run.do("reads pod", "writes Running", f"{SECOND}: a1, attempt 2: starts")
    run.do(f"{SECOND}: a1, attempt 2: ends as Failure", "writes Failed", "rerun a")
    run.do("starts run 1 of a1", f"{FIRST}: a1, attempt 1: ends as Success")
    run.do(f"node of {FIRST} is back", f"{FIRST}: a1, attempt 1: writes Succeeded")
    assert (run.status()["phase"], run.status()["run"]) == ("Pending", 1)
    run.rest()
    assert run.runs() == [(0, 1), (0, 2), (1, 1)]
    assert run.status()["run"] == 1


def test_an_operator_dies_between_the_start_of_a_run_and_its_message() -> None:
    run = play(script=("create a", "rerun a"), notes=True)
    run.do(*PUBLISHED, f"{FIRST} gets", "slot takes it", "ends as Success", "writes Succeeded")
    run.do("rerun a", "starts run 1 of a1", "operator dies", "operator starts")
    run.rest()
    assert run.runs() == [(0, 1), (1, 1)]
    assert run.status()["phase"] == "Succeeded"


def test_a_rerun_of_an_unfinished_task_is_refused() -> None:
    run = play(script=("create a", "rerun a"))
    run.do(*PUBLISHED, "rerun a")
    run.rest()
    assert run.runs() == [(0, 1)]
