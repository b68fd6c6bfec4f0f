"""Payloads that are kept in ConfigMaps and Secrets: a Task names one, a TaskQueue allows them."""

from typing import Annotated

from pydantic import ConfigDict, Field

from taskqueue_api.names import broker_secret
from taskqueue_api.payload_source import KEY_PATTERN
from taskqueue_api.schema import NAME_MAX, NAME_RULE, Model, Name, Rule, rules

SOURCES_MAX = 64


class PayloadKeyRef(Model):
    """One key of a ConfigMap or Secret in the Task's own namespace."""

    name: Name = Field(description="Name of the object.")
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    f"self.matches(r'{KEY_PATTERN}')",
                    "\"must be a key of a ConfigMap or Secret: letters, digits, '-', '_' and "
                    "'.', not '\" + self + \"'\"",
                    shows_value=True,
                ),
                Rule(
                    "self != '.' && !self.startsWith('..')",
                    "\"must not be '.', nor begin with '..', as no key of a ConfigMap or Secret "
                    'does: \'" + self + "\'"',
                    shows_value=True,
                ),
            ),
        ),
    ] = Field(description="Key in it, whose text is JSON.")


class PayloadFrom(Model):
    """Where a Task's payload is; exactly one place."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.configMapKeyRef) != has(self.secretKeyRef)",
                "exactly one of configMapKeyRef and secretKeyRef must be set",
            )
        )
    )

    config_map_key_ref: PayloadKeyRef | None = Field(default=None, description="In a ConfigMap.")
    secret_key_ref: PayloadKeyRef | None = Field(
        default=None, description="In a Secret. Its value is never in a message."
    )


# Of every TaskQueue: the name of the one at hand is not seen here, and would not be enough.
_SecretName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=NAME_MAX,
        json_schema_extra=rules(
            NAME_RULE,
            Rule(
                f"!self.matches('^{broker_secret('.+')}$')",
                f"must not be '{broker_secret('NAME')}', in which the operator keeps what the "
                "workers of a TaskQueue log in to RabbitMQ with",
            ),
        ),
    ),
]

# A set: a name that is listed twice is refused.
_SET = Field(max_length=SOURCES_MAX, json_schema_extra={"x-kubernetes-list-type": "set"})


class PayloadSourcesSpec(Model):
    """ConfigMaps and Secrets that Tasks of a queue may name in `payloadFrom`."""

    config_maps: Annotated[list[Name], _SET] | None = Field(
        default=None, description="Names of ConfigMaps."
    )
    secrets: Annotated[list[_SecretName], _SET] | None = Field(
        default=None, description="Names of Secrets."
    )
