"""Where a Task's payload is when it is not in the Task, as messages and workers know it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SourceKind = Literal["ConfigMap", "Secret"]

_FIELDS: dict[str, SourceKind] = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}

KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
"""Keys of ConfigMaps and Secrets:
https://github.com/kubernetes/apimachinery/blob/master/pkg/util/validation/validation.go"""

# A message may say anything, and the name becomes part of a path.
_TEXT = re.compile(
    r"(ConfigMap|Secret)/([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?)/([-._a-zA-Z0-9]{1,253})"
)


@dataclass(frozen=True)
class PayloadSource:
    """A key of a ConfigMap or Secret in the Task's own namespace: names, never a value."""

    kind: SourceKind
    name: str
    key: str

    def to_text(self) -> str:
        """Return it as a message carries it; neither name nor key has a slash."""
        return f"{self.kind}/{self.name}/{self.key}"

    def __str__(self) -> str:
        return f"key '{self.key}' of {self.kind} '{self.name}'"


def read_payload_from(payload_from: Mapping[str, Any]) -> PayloadSource:
    """Return what a Task's `spec.payloadFrom` names, as the API server's schema guarantees it."""
    field = next(field for field in _FIELDS if field in payload_from)
    ref = payload_from[field]
    return PayloadSource(_FIELDS[field], ref["name"], ref["key"])


def parse_payload_source(text: str) -> PayloadSource:
    """Return what `PayloadSource.to_text` wrote. Raises ValueError for any other text."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("it must be 'ConfigMap/NAME/KEY' or 'Secret/NAME/KEY'")
    kind: SourceKind = "Secret" if found[1] == "Secret" else "ConfigMap"
    return PayloadSource(kind, found[2], found[4])
