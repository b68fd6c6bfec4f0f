"""The CEL rules of a Task and its status, as the CustomResourceDefinition has them, as Python.

The rules are read from the models, not copied, so that a rule that is taken away there is missing
here too. Only the part of CEL that they use is understood; a test holds this against the rows
that the end-to-end suite tries on a real API server.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import CodeType
from typing import Any

from pydantic import ValidationError

from taskqueue_api import status_rules, task
from taskqueue_api.schema import Model, Rule
from taskqueue_api.task import TaskSpec, TaskStatus

Rules = tuple[tuple[CodeType, str], ...]

_TERNARY = re.compile(r"\((has\([\w.]+\)) \? ([^():?]+) : ([^():?]+)\)")
_EXISTS = re.compile(r"(self(?:\.\w+)+)\.exists\((\w), (\2\.[^()]*)\)")
_HAS = re.compile(r"has\(((?:self|oldSelf)(?:\.\w+)*)\.(\w+)\)")
_FIELD = re.compile(r"\b(self|oldSelf)((?:\.\w+)+)")
_NOT = re.compile(r"!(?!=)")


def status_fault(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Return what the API server says against a change of a status; None: it is stored."""
    try:
        TaskStatus.model_validate(new)
    except ValidationError as error:
        return str(error)
    # Of each of the two the API server tells the first that is broken.
    faults = [_fault(_read(part), old, new) for part in (status_rules.STATES, status_rules.CHANGES)]
    return "; ".join(fault for fault in faults if fault) or None


def task_fault(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Return what the API server says against a change of a Task; None: it is stored."""
    return (
        status_fault(old["status"], new["status"])
        or _fault(_listed(TaskSpec), old["spec"], new["spec"])
        or _fault(_read((task.RERUN_RULE,)), old["spec"]["rerun"], new["spec"]["rerun"])
        or _fault(_read(task.WHOLE), old, new)
    )


def creation_fault(new: Mapping[str, Any]) -> str | None:
    """Return what the API server says against a new Task as a whole, which has no status yet."""
    return _fault(_read(task.WHOLE), {}, new)


def _fault(rules: Rules, old: Any, new: Any) -> str | None:
    return next((message for code, message in rules if not _holds(code, old, new)), None)


def translate(expression: str) -> str:
    """Return a CEL expression as one of Python."""
    text = expression.replace(status_rules.SHOWN, "shown")
    text = _TERNARY.sub(r"(\2 if \1 else \3)", text)
    text = _EXISTS.sub(_any_of, text)
    text = _HAS.sub(lambda found: f"('{found[2]}' in {found[1]})", text)
    text = _FIELD.sub(lambda found: found[1] + _subscripts(found[2]), text)
    return _NOT.sub("not ", text).replace("&&", "and").replace("||", "or")


def _any_of(found: re.Match[str]) -> str:
    item = found[2]
    condition = re.sub(rf"\b{item}\.(\w+)", rf"{item}['\1']", found[3])
    return f"any({condition} for {item} in {found[1]})"


def _subscripts(path: str) -> str:
    return "".join(f"['{field}']" for field in path[1:].split("."))


@cache
def _compiled(expression: str) -> CodeType:
    return compile(translate(expression), expression, "eval")


def _read(items: tuple[Rule, ...]) -> Rules:
    return tuple((_compiled(rule.expression), rule.message) for rule in items)


def _listed(model: type[Model]) -> Rules:
    listed: Any = model.model_config["json_schema_extra"]
    rules = listed["x-kubernetes-validations"]
    return tuple((_compiled(rule["rule"]), rule["message"]) for rule in rules)


def _holds(code: CodeType, old: Any, new: Any) -> bool:
    conditions = new.get("conditions", []) if isinstance(new, Mapping) else []
    shown = [f"{each['type']}={each['status']}" for each in conditions]
    names = {"self": new, "oldSelf": old, "shown": shown}
    try:
        # The text is our own, from the models.
        return bool(eval(code, {"__builtins__": {"any": any}} | names))  # noqa: S307
    except KeyError:
        return False  # CEL takes a field that is not there for an error, and refuses
