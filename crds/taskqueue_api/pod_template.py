"""The part of a worker pod that a TaskQueue's author may change.

An allow-list: what is not here (host namespaces, service account, security context) cannot be
asked for, so a TaskQueue can never run a pod with more rights than ours.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from taskqueue_api.containers import (
    EnvVar,
    PathText,
    PullPolicy,
    Quantity,
    Resources,
    ShortText,
    VolumeMounts,
)
from taskqueue_api.names import GROUP, QUEUE_LABEL, worker_labels
from taskqueue_api.schema import DNS_LABEL, Model, Name, Rule, list_map, rules
from taskqueue_api.sidecars import Sidecar

SIDECARS_MAX = 4

_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
_LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_LABEL_KEYS = Rule(
    f"self.all(key, key.size() <= 317 && key.matches(r'{_LABEL_KEY}'))",
    "must have keys of labels, such as 'team' or 'example.org/team'",
)
_OUR_LABELS = tuple(key for key in worker_labels("") if key != QUEUE_LABEL)
_NOT_OURS = Rule(
    f"self.all(key, !key.startsWith('{GROUP}/') && !(key in {list(_OUR_LABELS)}))",
    f"must not have keys under '{GROUP}/', nor {' or '.join(repr(key) for key in _OUR_LABELS)}: "
    "by these labels the pods are found",
)
_LabelValues = dict[str, Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]]
LabelMap = Annotated[_LabelValues, Field(max_length=32, json_schema_extra=rules(_LABEL_KEYS))]
PodLabelMap = Annotated[
    _LabelValues, Field(max_length=32, json_schema_extra=rules(_LABEL_KEYS, _NOT_OURS))
]


class KeyToPath(Model):
    """A key of a ConfigMap or Secret, as a file."""

    key: ShortText = Field(description="Key.")
    path: PathText = Field(description="File name under the mount.")


class SecretVolume(Model):
    """A Secret, as files."""

    secret_name: Name = Field(description="Name of the Secret.")
    items: Annotated[list[KeyToPath], Field(max_length=64)] | None = Field(
        default=None, description="Keys wanted; default: all."
    )


class ConfigMapVolume(Model):
    """A ConfigMap, as files."""

    name: Name = Field(description="Name of the ConfigMap.")
    items: Annotated[list[KeyToPath], Field(max_length=64)] | None = Field(
        default=None, description="Keys wanted; default: all."
    )
    default_mode: Annotated[int, Field(ge=0, le=0o777)] | None = Field(
        default=None, description="File mode, in decimal or as YAML octal, such as 0755."
    )


class EmptyDirVolume(Model):
    """Scratch space that ends with the pod."""

    size_limit: Quantity | None = Field(default=None, description="Such as `1Gi`.")
    medium: Literal["", "Memory"] = Field(default="", description="`Memory` for tmpfs.")


class ClaimVolume(Model):
    """A PersistentVolumeClaim."""

    claim_name: Name = Field(description="Name of the claim.")
    read_only: bool = Field(default=False, description="Mounted read-only.")


class Volume(Model):
    """A volume of the pod; exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.secret), has(self.configMap), has(self.emptyDir), "
                "has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
                "exactly one of secret, configMap, emptyDir and persistentVolumeClaim must be set",
            ),
            Rule(
                "!self.name.startsWith('taskqueue-')",
                "name must not begin with 'taskqueue-', which is the worker's own",
            ),
        )
    )
    name: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)] = Field(
        description="Its name."
    )
    secret: SecretVolume | None = Field(default=None, description="A Secret.")
    config_map: ConfigMapVolume | None = Field(default=None, description="A ConfigMap.")
    empty_dir: EmptyDirVolume | None = Field(default=None, description="Scratch space.")
    persistent_volume_claim: ClaimVolume | None = Field(default=None, description="A claim.")


class Toleration(Model):
    """A taint that the pods tolerate."""

    key: ShortText | None = Field(default=None, description="The taint's key.")
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Comparison.")
    value: ShortText | None = Field(default=None, description="The taint's value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect."
    )
    toleration_seconds: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="How long NoExecute is tolerated, seconds."
    )


class LocalRef(Model):
    """An object in the same namespace."""

    name: Name = Field(description="Its name.")


class WorkerTemplate(Model):
    """Changes to the worker pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes) && "
                "self.volumes.exists(volume, volume.name == mount.name))",
                "each of volumeMounts must name one of volumes",
            ),
            Rule(
                "!has(self.sidecars) || self.sidecars.all(sidecar, !has(sidecar.volumeMounts) || "
                "sidecar.volumeMounts.all(mount, has(self.volumes) && "
                "self.volumes.exists(volume, volume.name == mount.name)))",
                "each of volumeMounts of sidecars must name one of volumes",
            ),
        )
    )

    labels: PodLabelMap | None = Field(default=None, description="More labels on the pods.")
    annotations: (
        Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)] | None
    ) = Field(default=None, description="More annotations on the pods.")
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None,
        description="Image of the workers, with your handlers; default: the chart's, which has "
        "the example handlers only.",
    )
    image_pull_policy: PullPolicy | None = Field(default=None, description="When to pull it.")
    image_pull_secrets: (
        Annotated[list[LocalRef], Field(max_length=8, json_schema_extra=list_map("name"))] | None
    ) = Field(default=None, description="Secrets to pull it with.")
    resources: Resources | None = Field(default=None, description="CPU and memory.")
    env: (
        Annotated[list[EnvVar], Field(max_length=128, json_schema_extra=list_map("name"))] | None
    ) = Field(default=None, description="Environment variables.")
    volumes: (
        Annotated[list[Volume], Field(max_length=32, json_schema_extra=list_map("name"))] | None
    ) = Field(default=None, description="Volumes.")
    volume_mounts: VolumeMounts | None = Field(
        default=None, description="Where the volumes appear."
    )
    sidecars: (
        Annotated[list[Sidecar], Field(max_length=SIDECARS_MAX, json_schema_extra=list_map("name"))]
        | None
    ) = Field(
        default=None,
        description="Containers beside the worker, such as the server of `http` handlers. They "
        "start before it, one after the other in this order, and outlive it while it drains.",
    )
    node_selector: LabelMap | None = Field(default=None, description="Labels of wanted nodes.")
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = Field(
        default=None, description="Tolerated taints."
    )

    def to_kubernetes(self) -> dict[str, Any]:
        """Return what was set, in the API's own spelling."""
        return self.model_dump(by_alias=True, exclude_none=True)
