"""Requests to the API server, as plain objects, with one translation of its errors.

Built on the kubernetes client's transport, which brings TLS, credentials and token rotation;
its thousand generated methods are of no use where every object is a dictionary.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from taskqueue_api.conditions import rfc3339, rfc3339_micro
from taskqueue_api.names import MANAGER
from taskqueue_operator.cluster.answers import parse, translate, unreachable
from taskqueue_operator.errors import (
    ClusterError,
    NotFoundError,
    NotLeaderError,
)

REQUESTS_MOST = 64
"""Requests at once. Each holds a connection with 128 KiB of buffers in asyncio alone."""

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
WATCH_SECONDS = 240
"""A watch is ended by the API server after so long; one that goes on for longer is dead."""

WATCH_TIMEOUT = aiohttp.ClientTimeout(total=WATCH_SECONDS + 30, connect=5)
PAGE = 500
_JSON = "application/json"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)
_PLURALS = {
    "Secret": "secrets",
    "ServiceAccount": "serviceaccounts",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Deployment": "deployments",
    "TaskQueue": "taskqueues",
    "Task": "tasks",
    "Pod": "pods",
    "Service": "services",
    "Event": "events",
    "Lease": "leases",
    "PodDisruptionBudget": "poddisruptionbudgets",
}


def object_path(
    api_version: str,
    kind: str,
    namespace: str | None,
    name: str | None = None,
    sub: str | None = None,
) -> str:
    """Return the URL path of an object, of its subresource, or of the collection.

    namespace: None for the collection of all namespaces.
    """
    root = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
    place = [] if namespace is None else ["namespaces", quote(namespace, safe="")]
    parts = [root, *place, _PLURALS[kind]]
    parts += [quote(part, safe="") for part in (name, sub) if part is not None]
    return "/".join(parts)


class ClusterClient:
    """One pooled connection to the API server.

    Every method raises NotFoundError, ConflictError, ClusterUnavailableError or ClusterError,
    with the server's own message; those that write also NotLeaderError.

    may_write: asked right before everything that is written but the Lease itself.
    """

    def __init__(
        self, api: kubernetes_client.ApiClient, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._api = api
        self.may_write = may_write

    @classmethod
    async def connect(cls, watches: int = 1) -> "ClusterClient":
        """Return a client for the cluster we run in, or the kubeconfig's current one.

        watches: how many there will be; each has a connection for itself.
        """
        configuration = kubernetes_client.Configuration()
        try:
            kubernetes_config.load_incluster_config(configuration)
        except kubernetes_config.ConfigException as outside:
            try:
                await kubernetes_config.load_kube_config(client_configuration=configuration)
            except kubernetes_config.ConfigException as error:
                text = f"no service account to use ({outside}), and no kubeconfig ({error})"
                raise ClusterError(0, text) from error
        configuration.connection_pool_maxsize = REQUESTS_MOST + watches
        # The same leniency as in taskqueue_api.tls, for the same reason.
        configuration.disable_strict_ssl_verification = True
        return cls(kubernetes_client.ApiClient(configuration))

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Return an object, read from etcd."""
        return await self._json("GET", object_path(api_version, kind, namespace, name))

    async def get_metadata(
        self, api_version: str, kind: str, namespace: str, name: str
    ) -> dict[str, Any]:
        """Return an object's metadata alone, read from etcd."""
        path = object_path(api_version, kind, namespace, name)
        metadata: dict[str, Any] = (await self._json("GET", path, accept=_METADATA))["metadata"]
        return metadata

    async def cluster_identity(self) -> tuple[str, datetime]:
        """Return the UID of kube-system, which identifies the cluster, and the server's time."""
        body, headers = await self._request("GET", "/api/v1/namespaces/kube-system")
        moment = parsedate_to_datetime(headers["Date"]).astimezone(UTC)
        return json.loads(body)["metadata"]["uid"], moment

    async def served_kinds(self, api_version: str) -> set[str]:
        """Return the plural names of the kinds that the API server has in a version of a group."""
        try:
            found = await self._json("GET", f"/apis/{api_version}")
        except NotFoundError:
            return set()
        return {resource["name"] for resource in found.get("resources") or []}

    async def list_pods(self, namespace: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the pods with these labels, at most one page, from the server's cache."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        query = {"labelSelector": selector, "limit": PAGE, "resourceVersion": "0"}
        body = await self._json("GET", object_path("v1", "Pod", namespace), query=query)
        items: list[dict[str, Any]] = body.get("items") or []
        return items

    async def task_tables(self, api_version: str, namespace: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all Tasks of a namespace as pages of a Table without the objects.

        About 55 bytes a Task, a twentieth of the objects.
        """
        path = object_path(api_version, "Task", namespace)
        async for page in self._pages(path, {"includeObject": "None"}, accept=_TABLE):
            yield page

    async def list_pages(
        self, api_version: str, kind: str, namespace: str | None, fields: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the lists, page by page, of the objects that a field selector matches.

        namespace: None for all.
        """
        path = object_path(api_version, kind, namespace)
        async for page in self._pages(path, {"fieldSelector": fields} if fields else {}):
            yield page

    async def watch_tasks(
        self, api_version: str, namespace: str | None, fields: str, version: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events since a version of the Tasks that a field selector matches.

        Among them are BOOKMARKs, which only tell a newer version. It ends after WATCH_SECONDS; an
        event that tells of an error, such as a version that is too old, is raised as one.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
            "fieldSelector": fields,
            "resourceVersion": version,
        }
        path = object_path(api_version, "Task", namespace)
        async for line in self._lines(f"{path}?{urlencode(query)}"):
            event = parse(line, f"WATCH {path}")
            if event["type"] == "ERROR":
                code = event["object"].get("code", 0)
                raise translate(code, json.dumps(event["object"]).encode(), f"WATCH {path}")
            yield event

    async def apply(self, manifest: Mapping[str, Any], sub: str | None = None) -> dict[str, Any]:
        """Create or change an object by server-side apply, as our one field manager."""
        metadata = manifest["metadata"]
        path = object_path(
            manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"], sub
        )
        return await self._json(
            "PATCH",
            path,
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def patch_task_status(
        self, api_version: str, namespace: str, name: str, patch: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Apply a JSON Patch to a Task's status; return the whole Task as it is then."""
        return await self._json(
            "PATCH",
            object_path(api_version, "Task", namespace, name, "status"),
            query={"fieldManager": MANAGER},
            body=patch,
            content_type="application/json-patch+json",
        )

    async def delete(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        *,
        preconditions: Mapping[str, str] | None = None,
    ) -> None:
        """Delete an object and, in the background, what it owns.

        preconditions: the `uid` and `resourceVersion` that it must have; else ConflictError.
        """
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if preconditions:
            options["preconditions"] = dict(preconditions)
        await self._json(
            "DELETE",
            object_path(api_version, kind, namespace, name),
            body=options,
            content_type=_JSON,
        )

    async def annotate(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        annotations: Mapping[str, str],
    ) -> None:
        """Set annotations of an object."""
        await self._json(
            "PATCH",
            object_path(api_version, kind, namespace, name),
            query={"fieldManager": MANAGER},
            body={"metadata": {"annotations": dict(annotations)}},
            content_type="application/merge-patch+json",
        )

    async def create_lease(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease, unless there is one."""
        metadata = manifest["metadata"]
        path = object_path(manifest["apiVersion"], "Lease", metadata["namespace"])
        return await self._json("POST", path, body=manifest, content_type=_JSON, fenced=False)

    async def replace_lease(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a Lease, if it has the `resourceVersion` given."""
        metadata = manifest["metadata"]
        path = object_path(manifest["apiVersion"], "Lease", metadata["namespace"], metadata["name"])
        return await self._json("PUT", path, body=manifest, content_type=_JSON, fenced=False)

    async def post_event(
        self, regarding: Mapping[str, Any], *, warning: bool, reason: str, message: str
    ) -> None:
        """Tell people what happened to an object, as an Event."""
        now = datetime.now(UTC)
        namespace = regarding["metadata"]["namespace"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{regarding['metadata']['name']}.",
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": namespace,
                "name": regarding["metadata"]["name"],
                "uid": regarding["metadata"]["uid"],
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:1024],
            "source": {"component": MANAGER},
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
            "eventTime": rfc3339_micro(now),
            "count": 1,
            "action": reason,
            "reportingComponent": f"taskqueue.dev/{MANAGER}",
            "reportingInstance": MANAGER,
        }
        await self._json(
            "POST",
            object_path("v1", "Event", namespace),
            body=event,
            content_type=_JSON,
        )

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str | None = None,
        accept: str = _JSON,
        fenced: bool = True,
    ) -> dict[str, Any]:
        if query:
            path = f"{path}?{urlencode(query)}"
        headers = {"Accept": accept}
        if content_type:
            headers["Content-Type"] = content_type
        fenced = fenced and method != "GET"
        text, _ = await self._request(method, path, body=body, headers=headers, fenced=fenced)
        return parse(text, f"{method} {path.partition('?')[0]}") if text else {}

    async def _pages(
        self, path: str, query: Mapping[str, Any], *, accept: str = _JSON
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a list, page by page."""
        query = {"limit": PAGE, **query}
        while True:
            page = await self._json("GET", path, query=query, accept=accept)
            yield page
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query = {**query, "continue": token}

    async def _lines(self, path: str) -> AsyncIterator[bytes]:
        """Yield an answer that goes on, line by line as it comes."""
        request = await self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
        try:
            response = await self._api.call_api(*request, _request_timeout=WATCH_TIMEOUT)
            try:
                if response.status >= 400:
                    what = f"WATCH {path.partition('?')[0]}"
                    raise translate(response.status, await response.read(), what)
                async for line in response.response.content:
                    if line.endswith(b"\n"):  # else it was cut off
                        yield line
            finally:
                response.response.close()
        except _UNREACHABLE as error:
            raise unreachable(error) from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        fenced: bool = False,
    ) -> tuple[bytes, Mapping[str, str]]:
        request = await self._api.param_serialize(
            method, path, header_params=headers or {}, body=body, auth_settings=["BearerToken"]
        )
        if fenced and not self.may_write():
            raise NotLeaderError
        try:
            response = await self._api.call_api(*request, _request_timeout=TIMEOUT)
            text = await response.read()
        except _UNREACHABLE as error:
            raise unreachable(error) from error
        if response.status >= 400:
            raise translate(response.status, text, f"{method} {path.partition('?')[0]}")
        return text, response.headers
