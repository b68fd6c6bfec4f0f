"""What a container of a worker pod may be given: variables, resources and mounts."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from taskqueue_api.names import PROGRAM, RESERVED_MOUNTS
from taskqueue_api.schema import Model, Name, Rule, list_map, rules

ShortText = Annotated[str, Field(max_length=253)]
LongText = Annotated[str, Field(max_length=4096)]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
PathText = Annotated[str, Field(min_length=1, max_length=1024)]


class KeyRef(Model):
    """One key of a ConfigMap or Secret."""

    name: Name = Field(description="Name of the object.")
    key: ShortText = Field(description="Key in it.")
    optional: bool = Field(default=False, description="Whether it may be missing.")


class FieldRef(Model):
    """A field of the pod."""

    field_path: ShortText = Field(description="Such as `metadata.name`.")


class EnvVarSource(Model):
    """Where a variable's value comes from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.configMapKeyRef), has(self.secretKeyRef), has(self.fieldRef)]"
                ".filter(x, x).size() == 1",
                "exactly one of configMapKeyRef, secretKeyRef and fieldRef must be set",
            )
        )
    )
    config_map_key_ref: KeyRef | None = Field(default=None, description="From a ConfigMap.")
    secret_key_ref: KeyRef | None = Field(default=None, description="From a Secret.")
    field_ref: FieldRef | None = Field(default=None, description="From the pod itself.")


_ONE_VALUE = Rule(
    "!(has(self.value) && has(self.valueFrom))",
    "only one of value and valueFrom must be set",
)


class SidecarEnvVar(Model):
    """An environment variable of a sidecar."""

    model_config = ConfigDict(json_schema_extra=rules(_ONE_VALUE))

    name: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")
    ] = Field(description="Its name.")
    value: LongText | None = Field(default=None, description="Its value.")
    value_from: EnvVarSource | None = Field(default=None, description="Where to read it from.")


class EnvVar(SidecarEnvVar):
    """An environment variable of the worker, some of which are its own."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _ONE_VALUE,
            Rule(
                "!self.name.startsWith('TASKQUEUE_')",
                "\"name must not begin with 'TASKQUEUE_', which is the worker's own: '\" "
                '+ self.name + "\'"',
                shows_value=True,
            ),
            Rule(
                "self.name != 'PYTHONPATH'",
                "PYTHONPATH must not be set: mount or copy your modules to /app, which is in it",
            ),
        )
    )


def _request_rule(resource: str) -> Rule:
    return Rule(
        f"!has(self.requests) || !has(self.limits) || !('{resource}' in self.requests) || "
        f"!('{resource}' in self.limits) || "
        f"quantity(string(self.requests['{resource}']))"
        f".compareTo(quantity(string(self.limits['{resource}']))) <= 0",
        f"requests.{resource} must be at most limits.{resource}",
    )


# As Kubernetes' own generator writes it: decimal, with an SI, binary or exponent suffix.
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$"
Quantity = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _QUANTITY, "maxLength": 32}),
]
Quantities = Annotated[dict[str, Quantity], Field(max_length=8)]


class Resources(Model):
    """Compute resources of a container."""

    model_config = ConfigDict(
        json_schema_extra=rules(_request_rule("cpu"), _request_rule("memory"))
    )
    requests: Quantities | None = Field(default=None, description="What it is sure to get.")
    limits: Quantities | None = Field(default=None, description="What it may use at most.")


class VolumeMount(Model):
    """Where a volume appears in a container."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="The volume.")
    mount_path: Annotated[
        PathText,
        Field(
            json_schema_extra=rules(
                Rule(
                    f"self.startsWith('/') && !self.startsWith('{RESERVED_MOUNTS}') && "
                    f"!self.startsWith('{PROGRAM}')",
                    f"\"must be absolute and outside '{RESERVED_MOUNTS}' and '{PROGRAM}', "
                    'not \'" + self + "\'"',
                    shows_value=True,
                )
            )
        ),
    ] = Field(description="Absolute path.")
    sub_path: PathText | None = Field(default=None, description="One file or folder of it.")
    read_only: bool = Field(default=False, description="Mounted read-only.")


VolumeMounts = Annotated[
    list[VolumeMount], Field(max_length=32, json_schema_extra=list_map("mountPath"))
]
