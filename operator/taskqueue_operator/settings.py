"""The operator's configuration, read once from the environment and the command line at start."""

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taskqueue_operator.domain.sharding import WHOLE, Shard, parse_shard

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LEASE = "taskqueue-operator"


class SecretKey(NamedTuple):
    """A Secret anywhere in the cluster."""

    namespace: str
    name: str


class Settings(BaseSettings):
    """Environment variables, prefix `TASKQUEUE_`; the chart's values, in the same order.

    watch_namespaces: comma-separated; empty: all.
    shard: `i/n`, the i-th of n parts of the TaskQueues, from 1; empty: all of them.
    default_broker_secret: `namespace/name`; empty: a TaskQueue must name its own Secret.
    pod_uid: empty: outside of a cluster.
    lease_namespace, lease_name: the Lease by which one of several operators leads; each shard needs
        one of its own. Empty: named for the shard.
    max_worker_pods: of all TaskQueues of the shard; empty: no limit.
    """

    model_config = SettingsConfigDict(env_prefix="TASKQUEUE_", frozen=True)

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    shard: Annotated[Shard, NoDecode] = WHOLE
    default_broker_secret: Annotated[SecretKey | None, NoDecode] = None
    worker_image: str = Field(min_length=1)
    worker_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    pod_name: str = "taskqueue-operator"
    pod_uid: str = ""
    lease_namespace: str = "default"
    lease_name: str = ""
    max_worker_pods: Annotated[int | None, Field(ge=0)] = None

    @property
    def lease(self) -> str:
        """The name of the Lease by which the operators of this shard agree."""
        return self.lease_name or self.shard.lease_name(_LEASE)

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        for name in names:
            if not _NAMESPACE.fullmatch(name):
                raise ValueError(
                    "must be names of namespaces with commas between them, such as 'shop,mail', "
                    f"and '{name}' is none"
                )
        return tuple(dict.fromkeys(names))

    @field_validator("shard", mode="before")
    @classmethod
    def _shard(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return parse_shard(value) if value else WHOLE

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
