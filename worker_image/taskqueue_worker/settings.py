"""What the worker is told by its environment; the operator writes it into the Deployment."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taskqueue_api.durations import parse_duration
from taskqueue_api.names import WORKER_PORT
from taskqueue_api.retries import ONCE, RetryPolicy, read_policy
from taskqueue_api.urls import HTTP_URL, URL_MAX

_PREFIX = "TASKQUEUE_"


class SettingsError(Exception):
    """The environment is wrong; the message names each variable."""


class PythonSettings(BaseModel):
    """Handlers in a Python module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: Annotated[str, Field(min_length=1)]


class ExecSettings(BaseModel):
    """A program per Task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[list[str], Field(min_length=1)]


class HttpSettings(BaseModel):
    """A request per Task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(max_length=URL_MAX, pattern=HTTP_URL)]


class HandlersSettings(BaseModel):
    """What runs the Tasks; exactly one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: PythonSettings | None = None
    exec: ExecSettings | None = None
    http: HttpSettings | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "HandlersSettings":
        if sum(kind is not None for kind in (self.python, self.exec, self.http)) != 1:
            raise ValueError("exactly one of python, exec and http must be set")
        return self


class Settings(BaseSettings):
    """The worker's settings.

    cluster: UID of the cluster's kube-system namespace.
    claim: whether new Tasks may be started before they are shown as Running.
    timeout: the TaskQueue's. No attempt runs longer, whatever its message says.
    retry: the TaskQueue's policy, as `taskqueue_api.retries` writes it.
    grace: seconds from SIGTERM to SIGKILL, by the pod's terminationGracePeriodSeconds.
    broker: folder with `uri` and, with TLS, `ca.crt`; read at every connect.
    rate_tokens, running_tokens: queues of the tokens of each limit; empty: there is none.
    service_account: folder with `token` and `ca.crt`.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    namespace: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    cluster: Annotated[str, Field(min_length=1)]
    concurrency: Annotated[int, Field(ge=1, le=64)]
    claim: Literal["Adaptive", "Always"] = "Adaptive"
    timeout: timedelta
    # Not decoded as JSON before the validator: it is one text, here and in a message.
    retry: Annotated[RetryPolicy, NoDecode] = ONCE
    handlers: HandlersSettings
    grace: Annotated[int, Field(ge=1)]
    rate_tokens: str = ""
    running_tokens: str = ""
    pod_name: Annotated[str, Field(min_length=1)]
    pod_uid: str = ""
    node_name: str = ""
    log_format: Literal["json", "text"] = "json"
    port: Annotated[int, Field(ge=0, le=65535)] = WORKER_PORT
    broker: Path = Path("/etc/taskqueue/broker")
    service_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")

    @field_validator("timeout", mode="before")
    @classmethod
    def _go_duration(cls, value: Any) -> timedelta:
        return parse_duration(str(value))

    @field_validator("retry", mode="before")
    @classmethod
    def _policy(cls, value: Any) -> RetryPolicy:
        return value if isinstance(value, RetryPolicy) else read_policy(str(value))


def load_settings() -> Settings:
    """Return the settings of this process's environment. Raises SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [_explain(entry) for entry in error.errors(include_url=False)]
        raise SettingsError("; ".join(lines)) from error
    except ValueError as error:
        # pydantic-settings: a complex variable that is not JSON; its message names the field.
        raise SettingsError(f"{_PREFIX}HANDLERS must be JSON: {error.__cause__}") from error


def _explain(entry: Any) -> str:
    variable, *path = (str(part) for part in entry["loc"])
    where = "".join(f".{part}" for part in path)
    if entry["type"] == "missing" and not path:
        return f"{_PREFIX}{variable.upper()} must be set"
    shown = "" if path else f", not {entry['input']!r}"
    return f"{_PREFIX}{variable.upper()}{where}: {entry['msg']}{shown}"
