"""The scenarios that are gone through in every order, each small enough for that."""

from taskqueue_api.retries import parse_policy
from tests.protocol.world import FAILURE, SUCCESS, Scenario

TWICE = parse_policy({"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "1s", "jitter": 0}})

WORKER_FAULTS = frozenset(
    {"container", "pod", "connection", "node", "drain", "answer", "late write"}
)
OPERATOR_FAULTS = frozenset({"operator", "unconfirmed"})
BROKER_FAULTS = frozenset({"queue", "ladder", "message"})
ALL_FAULTS = WORKER_FAULTS | OPERATOR_FAULTS | BROKER_FAULTS

ANY_END = (SUCCESS, FAILURE)
AGAIN = ("create a", "delete a", "create a")

ALWAYS = {
    "one fault of a worker": Scenario(
        faults=WORKER_FAULTS, budget=1, outcomes=ANY_END, prompt=True, always=True
    ),
    "two lost connections or nodes": Scenario(
        faults=frozenset({"connection", "node"}), budget=2, prompt=True, always=True
    ),
    "a lost queue or an operator that is not sure": Scenario(
        faults=OPERATOR_FAULTS | {"queue"}, budget=1, patience=1, always=True
    ),
}
"""With `claim: Always` on the TaskQueue, in which no attempt may ever be started twice."""

SCENARIOS = {
    "one fault of a worker": Scenario(faults=WORKER_FAULTS, budget=1, outcomes=ANY_END),
    "one fault of a worker, with a retry": Scenario(
        faults=WORKER_FAULTS - {"pod", "node", "connection"},
        budget=1,
        policy=TWICE,
        outcomes=(FAILURE,),
        prompt=True,
    ),
    "a worker is slow and loses its connection": Scenario(
        faults=frozenset({"connection", "container"}), budget=1, patience=1, prompt=True
    ),
    "two lost connections or containers": Scenario(
        faults=frozenset({"connection", "container"}), budget=2, prompt=True
    ),
    "two lost nodes": Scenario(faults=frozenset({"node"}), budget=2, prompt=True),
    "one fault of the broker": Scenario(
        faults=BROKER_FAULTS, budget=1, policy=TWICE, outcomes=ANY_END
    ),
    "one fault of the operator, with patience": Scenario(
        faults=OPERATOR_FAULTS, budget=1, patience=1
    ),
    "one fault of the operator, with a retry": Scenario(
        faults=OPERATOR_FAULTS, budget=1, policy=TWICE, outcomes=(FAILURE,)
    ),
    "two faults of the operator": Scenario(faults=OPERATOR_FAULTS, budget=2, notes=True),
    "a name used again": Scenario(
        script=AGAIN, workers=1, faults=frozenset({"late write"}), budget=1, prompt=True
    ),
    "an edit of the labels": Scenario(
        script=("create a", "label a"), faults=frozenset({"container", "answer"}), budget=1
    ),
    "a Task is run again": Scenario(
        script=("create a", "rerun a"),
        workers=1,
        faults=frozenset({"container", "answer", "late write", "operator"}),
        budget=1,
        outcomes=(FAILURE,),
        prompt=True,
    ),
    "two Tasks": Scenario(script=("create a", "create b"), prompt=True),
    "two slots of one worker": Scenario(
        workers=1, slots=2, faults=frozenset({"connection"}), budget=2, policy=TWICE
    ),
}
