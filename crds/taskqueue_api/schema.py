"""What a pydantic model says about its CustomResourceDefinition beyond its types.

`Model` is the base of everything in the API; the helpers attach CEL rules and list types.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from taskqueue_api import moments
from taskqueue_api.durations import HOLDABLE, PATTERN


class Model(BaseModel):
    """Base of the API's models: camelCase outside, frozen, tolerant of fields of later versions.

    Refusing unknown fields is the API server's job, which knows the stored schema.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


@dataclass(frozen=True)
class Rule:
    """A CEL rule and the sentence a person reads when it is broken.

    expression: CEL over `self` and, for transitions, `oldSelf`.
    message: what must hold. With `shows_value`, it is itself a CEL expression of type string,
        so that it can quote the value.
    fallback: with `shows_value`, the sentence where the value cannot be quoted, since it has line
        breaks; default: the expression's first text, without the quotation that it leads up to.
    """

    expression: str
    message: str
    shows_value: bool = False
    fallback: str = ""

    @property
    def sentence(self) -> str:
        """What must hold, without the value."""
        if not self.shows_value or self.fallback:
            return self.fallback or self.message
        return re.sub(r"[,:]( not)? '$", "", self.message.split('"')[1])

    def to_schema(self) -> dict[str, str]:
        """Return the rule as an entry of `x-kubernetes-validations`."""
        schema = {"rule": self.expression, "message": self.sentence}
        return schema | ({"messageExpression": self.message} if self.shows_value else {})


def rules(*items: Rule) -> dict[str, Any]:
    """Return CEL rules in the form that pydantic's `json_schema_extra` takes."""
    return {"x-kubernetes-validations": [rule.to_schema() for rule in items]}


def joined(items: Sequence[Rule], bound: Mapping[str, str]) -> Rule:
    """Return one rule that holds when all do, and says which does not: the first that is broken.

    The API server copies the schema of all of an object's fields at each look at one of them, which
    was over a third of all the memory that it took for a Task. So what several rules look at is
    looked at once.

    bound: CEL expressions by the names that they get; where the text of a rule, or of what is bound
        after it, has one, the name is put.
    """
    whole = " && ".join(f"({rule.expression})" for rule in items)
    outer = ""
    later = list(bound.items())
    while later:
        (name, expression), *later = later
        pattern = rf"(?<![\w.]){re.escape(expression)}(?!\w)"
        whole = re.sub(pattern, name, whole)
        later = [(other, re.sub(pattern, name, text)) for other, text in later]
        outer += f"[{expression}].all({name}, "
    whole = f"{outer}{whole}{')' * len(bound)}"
    broken = " : ".join(f"!({rule.expression}) ? {_quoted(rule.message)}" for rule in items[:-1])
    sentences = "; ".join(rule.sentence for rule in items)
    message = f"{broken} : {_quoted(items[-1].message)}"
    return Rule(whole, message, shows_value=True, fallback=sentences)


def _quoted(text: str) -> str:
    return f'"{text}"'


def list_map(*keys: str) -> dict[str, Any]:
    """Return the markers of a list whose items are merged by keys, in server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


_DURATION_MESSAGE = "\"must be a duration such as '30s', '5m' or '1h30m', not '\" + self + \"'\""


def duration_rules(minimum: str, maximum: str) -> dict[str, Any]:
    """Return the rules of a duration field with inclusive bounds."""
    valid = f"self.matches(r'{PATTERN}')"
    return rules(
        Rule(valid, _DURATION_MESSAGE, shows_value=True),
        Rule(
            f"!{valid} || (self.matches(r'{HOLDABLE}') && "
            f"duration(self) >= duration('{minimum}') && duration(self) <= duration('{maximum}'))",
            f"\"must be between '{minimum}' and '{maximum}', not '\" + self + \"'\"",
            shows_value=True,
        ),
    )


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

Text = Annotated[str, Field(max_length=1024)]
NAME_MAX = 253
NAME_RULE = Rule(
    "self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",
    "\"must be the name of a Kubernetes object: lower case letters, digits, '-' and '.', not '\" "
    '+ self + "\'"',
    shows_value=True,
)
Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX, json_schema_extra=rules(NAME_RULE))]
QueueRef = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        json_schema_extra=rules(
            Rule(
                f"self.matches('{DNS_LABEL}')",
                "\"must be the name of a TaskQueue: lower case letters, digits and '-', "
                'not \'" + self + "\'"',
                shows_value=True,
            )
        ),
    ),
]
JsonValue = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]
"""Any JSON value. CEL can neither look into it nor measure it."""

Moment = Annotated[
    str,
    Field(
        max_length=40,
        json_schema_extra=rules(
            Rule(
                f"self.matches(r'{moments.PATTERN}')",
                '"must be a time with its zone, between the years 2000 and 2200, such as '
                "'2026-12-01T06:00:00Z' or '2026-12-01T06:00:00+01:00', not '\" + self + \"'\"",
                shows_value=True,
            )
        ),
    ),
]
"""A time as RFC 3339 writes it, with its zone."""
