"""The operator's configuration, read once from the environment at start."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SecretKey(NamedTuple):
    """A Secret anywhere in the cluster."""

    namespace: str
    name: str


class Settings(BaseSettings):
    """Environment variables, prefix `TASKQUEUE_`; the chart's values, in the same order.

    watch_namespaces: comma-separated; empty: all.
    default_broker_secret: `namespace/name`; empty: a TaskQueue must name its own Secret.
    pod_uid: empty: outside of a cluster.
    lease_namespace, lease_name: the Lease by which one of several operators leads.
    max_worker_pods: of all TaskQueues; empty: no limit.
    """

    model_config = SettingsConfigDict(env_prefix="TASKQUEUE_", frozen=True)

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    default_broker_secret: Annotated[SecretKey | None, NoDecode] = None
    worker_image: str = Field(min_length=1)
    worker_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    pod_name: str = "taskqueue-operator"
    pod_uid: str = ""
    lease_namespace: str = "default"
    lease_name: str = "taskqueue-operator"
    max_worker_pods: Annotated[int | None, Field(ge=0)] = None

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("max_worker_pods", mode="before")
    @classmethod
    def _limit(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("default_broker_secret", mode="before")
    @classmethod
    def _secret(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not value:
            return None
        namespace, slash, name = value.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise ValueError(f"must be 'namespace/name', not '{value}'")
        return SecretKey(namespace, name)
