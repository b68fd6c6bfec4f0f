"""Containers beside the worker in its pod.

What is not here (security context, lifecycle hooks, probes by a command or at another host) cannot
be asked for: a sidecar is as restricted as the worker.
"""

from typing import Annotated

from pydantic import Field

from taskqueue_api.containers import (
    LongText,
    PathText,
    PullPolicy,
    Resources,
    SidecarEnvVar,
    VolumeMounts,
)
from taskqueue_api.names import WORKER_CONTAINER, WORKER_PORT
from taskqueue_api.schema import DNS_LABEL, Model, Rule, list_map, rules

SIDECAR_NAME_MAX = 40
"""Characters: names of volumes, of at most 63, are derived from it."""

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=3600)]


class SidecarPort(Model):
    """A TCP port that the sidecar listens on."""

    name: Annotated[str, Field(min_length=1, max_length=15, pattern=DNS_LABEL)] | None = Field(
        default=None, description="Its name."
    )
    container_port: Annotated[
        Port,
        Field(
            json_schema_extra=rules(
                Rule(
                    f"self != {WORKER_PORT}",
                    f"must not be {WORKER_PORT}, which is the worker's own",
                )
            )
        ),
    ] = Field(description="Its number.")


class HttpGet(Model):
    """A request that must be answered with a status from 200 to 399."""

    path: PathText = Field(default="/", description="Path, such as `/healthz`.")
    port: Port = Field(description="Port of the sidecar.")


class Probe(Model):
    """How to find out that the sidecar works."""

    http_get: HttpGet = Field(description="The request.")
    initial_delay_seconds: Annotated[int, Field(ge=0, le=3600)] | None = Field(
        default=None, description="How long after its start the first is sent. Default: 0."
    )
    period_seconds: Seconds | None = Field(default=None, description="How often. Default: 10.")
    timeout_seconds: Seconds | None = Field(
        default=None, description="How long the answer may take. Default: 1."
    )
    failure_threshold: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="How many must fail in a row. Default: 3."
    )


class Sidecar(Model):
    """A container beside the worker, restarted whenever it ends."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=SIDECAR_NAME_MAX,
            pattern=DNS_LABEL,
            json_schema_extra=rules(
                Rule(
                    f"self != '{WORKER_CONTAINER}'",
                    f"must not be '{WORKER_CONTAINER}', which is the worker's own",
                )
            ),
        ),
    ] = Field(description="Its name.")
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None, description="Its image; default: that of the worker."
    )
    image_pull_policy: PullPolicy | None = Field(
        default=None, description="When to pull it; of the default image: as for the worker."
    )
    command: Annotated[list[LongText], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Program instead of the image's own."
    )
    args: Annotated[list[LongText], Field(max_length=64)] | None = Field(
        default=None, description="Arguments."
    )
    env: (
        Annotated[list[SidecarEnvVar], Field(max_length=64, json_schema_extra=list_map("name"))]
        | None
    ) = Field(default=None, description="Environment variables.")
    ports: (
        Annotated[
            list[SidecarPort], Field(max_length=16, json_schema_extra=list_map("containerPort"))
        ]
        | None
    ) = Field(default=None, description="Ports that it listens on.")
    resources: Resources | None = Field(default=None, description="CPU and memory.")
    volume_mounts: VolumeMounts | None = Field(
        default=None, description="Where the pod's volumes appear in it."
    )
    startup_probe: Probe | None = Field(
        default=None, description="Until it succeeds, the worker is not started."
    )
    readiness_probe: Probe | None = Field(
        default=None,
        description="While it fails, the pod is not ready. The worker takes Tasks all the same.",
    )
