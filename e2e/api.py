"""The API server over HTTP: for scenarios that ask often, or what kubectl cannot be asked."""

import base64
import json
import ssl
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from e2e.kubectl import KUBECONFIG

Object = dict[str, Any]

_TIMEOUT_SECONDS = 30.0
# An API server that a scenario restarts is back by then.
_AWAY_SECONDS = 60.0
_AWAY_PAUSE_SECONDS = 0.25
_TASKQUEUE_API = "apis/taskqueue.dev/v1beta1"
_RBAC = "apis/rbac.authorization.k8s.io/v1"
_NAMESPACES = "/api/v1/namespaces"

# By kind: the API's path and the plural.
_COLLECTIONS = {
    "TaskQueue": (_TASKQUEUE_API, "taskqueues"),
    "Task": (_TASKQUEUE_API, "tasks"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "Role": (_RBAC, "roles"),
    "RoleBinding": (_RBAC, "rolebindings"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "Secret": ("api/v1", "secrets"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Service": ("api/v1", "services"),
    "Pod": ("api/v1", "pods"),
    "Event": ("api/v1", "events"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
}


class ApiError(Exception):
    """The API server refused. status: of HTTP; message: its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """The API server, as the kubeconfig's administrator. Safe to use from several threads."""

    def __init__(self, kubeconfig: Path = KUBECONFIG) -> None:
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(user["client-certificate-data"]))
            file.write(b"\n" + base64.b64decode(user["client-key-data"]))
            file.flush()
            context.load_cert_chain(file.name)
        self._client = httpx.Client(
            base_url=cluster["server"], verify=context, timeout=_TIMEOUT_SECONDS, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return an object. Raises ApiError."""
        found: Object = self._read(path_of(kind, namespace, name), {})
        return found

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object; None: it is not there."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def list(self, kind: str, namespace: str, **parameters: str | int) -> list[Object]:
        """Return a namespace's objects of a kind. parameters: of the list call."""
        items: list[Object] = self._read(path_of(kind, namespace), parameters)["items"]
        return items

    def log(self, namespace: str, pod: str, *, previous: bool = False) -> str:
        """Return a pod's log; bytes that are no text are replaced.

        previous: of its container before the last restart.
        """
        parameters = {"previous": previous}
        answer = self._client.get(path_of("Pod", namespace, pod, "log"), params=parameters)
        if not answer.is_success:
            _checked(answer)
        return answer.content.decode("utf-8", "replace")

    def create(self, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create an object, refusing unknown fields. Raises ApiError. dry_run: only check it."""
        path = path_of(body["kind"], body["metadata"]["namespace"])
        options = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self._write("POST", path, body, "application/json", options)

    def apply(self, body: Mapping[str, Any]) -> Object:
        """Create or change an object, refusing unknown fields. Raises ApiError."""
        metadata = body["metadata"]
        path = path_of(body["kind"], metadata["namespace"], metadata["name"])
        # With force, as scenarios change by patches too what they have applied.
        options = {"fieldManager": "scenarios", "force": "true", "fieldValidation": "Strict"}
        # As YAML, which takes no JSON with a pair of surrogates in it.
        text = yaml.safe_dump(dict(body), sort_keys=False)
        return self._write("PATCH", path, text, "application/apply-patch+yaml", options)

    def merge(
        self, kind: str, namespace: str, name: str, change: Mapping[str, Any], *, sub: str = ""
    ) -> Object:
        """Apply a merge patch, to a subresource if one is named. Raises ApiError."""
        path = path_of(kind, namespace, name, sub)
        return self._write("PATCH", path, change, "application/merge-patch+json", {})

    def json_patch(
        self, kind: str, namespace: str, name: str, steps: Sequence[Object], *, sub: str = ""
    ) -> Object:
        """Apply a JSON Patch, to a subresource if one is named. Raises ApiError."""
        path = path_of(kind, namespace, name, sub)
        return self._write("PATCH", path, steps, "application/json-patch+json", {})

    def delete(self, kind: str, namespace: str, name: str, *, grace: int | None = None) -> None:
        """Delete an object. grace: seconds; 0: at once. Raises ApiError."""
        parameters = {} if grace is None else {"gracePeriodSeconds": grace}
        path = path_of(kind, namespace, name)
        _checked(self._client.delete(path, params=parameters))

    def create_namespace(self, body: Mapping[str, Any]) -> None:
        """Create a namespace. Raises ApiError."""
        self._write("POST", _NAMESPACES, body, "application/json", {})

    def delete_namespace(self, name: str) -> None:
        """Have a namespace deleted, if it is there, without waiting for its end."""
        answer = self._client.delete(f"{_NAMESPACES}/{name}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            _checked(answer)

    def _read(self, path: str, parameters: Mapping[str, str | int]) -> Any:
        """Return what a GET gives, waiting out an API server that is just being restarted."""
        deadline = time.monotonic() + _AWAY_SECONDS
        while True:
            try:
                answer = self._client.get(path, params=parameters)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                starting = answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
                if not starting or time.monotonic() > deadline:
                    return _checked(answer)
            time.sleep(_AWAY_PAUSE_SECONDS)

    def _write(
        self, method: str, path: str, body: Any, content_type: str, parameters: Mapping[str, str]
    ) -> Object:
        answer = self._client.request(
            method,
            path,
            content=body if isinstance(body, str) else json.dumps(body),
            headers={"Content-Type": content_type},
            params=parameters,
        )
        written: Object = _checked(answer)
        return written


def path_of(kind: str, namespace: str, name: str = "", sub: str = "") -> str:
    """Return the path of a collection, an object or its subresource."""
    prefix, plural = _COLLECTIONS[kind]
    parts = [prefix, "namespaces", namespace, plural, name, sub]
    return "/" + "/".join(part for part in parts if part)


def _checked(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError):
        message = answer.text
    raise ApiError(answer.status_code, message)
