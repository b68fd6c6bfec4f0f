"""An API server of one file, for a whole operator: it shows objects and takes note of writes."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml
from aiohttp import web

KINDS = {
    "taskqueue.dev/v1beta1": {"taskqueues": "TaskQueue", "tasks": "Task"},
    "apps/v1": {"deployments": "Deployment"},
    "v1": {"serviceaccounts": "ServiceAccount", "pods": "Pod", "namespaces": "Namespace"},
    "rbac.authorization.k8s.io/v1": {"roles": "Role", "rolebindings": "RoleBinding"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "coordination.k8s.io/v1": {"leases": "Lease"},
    # Which Kopf waits for, and never asks.
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
}
KUBE_SYSTEM = "/api/v1/namespaces/kube-system"
_COLUMNS = ("Name", "Queue", "Status", "Finished", "TTL")


class Write(NamedTuple):
    """A request that would change something. by: the user's token. text: the body."""

    by: str
    method: str
    path: str
    text: str


class SmallCluster:
    """Objects by their paths. Writes change none of them, but for Leases.

    writes: those to anything but Leases. leases: who has written which.
    """

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[Write] = []
        self.leases: set[tuple[str, str]] = set()
        self._watches: list[tuple[str, str, asyncio.Queue[dict[str, Any]]]] = []
        self._version = 1

    def add(self, body: Mapping[str, Any]) -> None:
        """Put an object there, and show it to who watches."""
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        stored = {**body, "metadata": metadata}
        root, plural = _find_kind(body["apiVersion"], body["kind"])
        place = f"{root}/namespaces/{metadata['namespace']}/{plural}"
        self.objects[f"{place}/{metadata['name']}"] = stored
        for path, selector, events in self._watches:
            if path in (place, f"{root}/{plural}") and _matches(stored, selector):
                events.put_nowait({"type": "ADDED", "object": stored})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        text = await request.text()
        if request.method != "GET":
            by = request.headers["Authorization"].removeprefix("Bearer ")
            return web.json_response(self._write(Write(by, request.method, request.path, text)))
        found = _discover(request.path) or self.objects.get(request.path)
        if request.path == KUBE_SYSTEM:
            found = {"metadata": {"uid": "cluster"}}
        elif "/leases/" in request.path and found is None:
            # Held by nobody, as the chart brings it.
            found = {"metadata": {"resourceVersion": "1"}, "spec": {}}
        if found is not None:
            return web.json_response(found)
        if request.path.rpartition("/")[2] not in _plurals():
            return web.json_response({"message": "not found", "code": 404}, status=404)
        if "watch" in request.query:
            return await self._watch(request)
        items = self._list(request.path, request.query.get("fieldSelector", ""))
        is_table = "as=Table" in request.headers["Accept"]
        found = _tabulate(items) if is_table else {"items": items}
        found["metadata"] = {"resourceVersion": str(self._version)}
        return web.json_response(found)

    def _write(self, write: Write) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(write.text) if write.text else {}
        if "/leases" not in write.path:
            self.writes.append(write)
            return self.objects.get(write.path.removesuffix("/status"), body)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.leases.add((write.by, body["metadata"]["name"]))
        self.objects[write.path] = body
        return body

    def _list(self, path: str, selector: str) -> list[dict[str, Any]]:
        root, _, plural = path.rpartition("/")
        return [
            body
            for place, body in self.objects.items()
            if place.startswith(root) and f"/{plural}/" in place and _matches(body, selector)
        ]

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._watches.append((request.path, request.query.get("fieldSelector", ""), events))
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1"}}}
        events.put_nowait(bookmark)
        while True:
            await response.write(json.dumps(await events.get()).encode() + b"\n")


def _plurals() -> set[str]:
    return {plural for kinds in KINDS.values() for plural in kinds}


def _find_kind(api_version: str, kind: str) -> tuple[str, str]:
    """Return the root of a version's paths, and the plural of a kind."""
    (plural,) = (one for one, found in KINDS[api_version].items() if found == kind)
    return ("/api/v1" if api_version == "v1" else f"/apis/{api_version}"), plural


def _discover(path: str) -> dict[str, Any] | None:
    """Return what there is; None: that was not asked."""
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        groups = [one.split("/") for one in KINDS if "/" in one]
        return {
            "groups": [
                {
                    "name": group,
                    "versions": [{"version": version}],
                    "preferredVersion": {"version": version},
                }
                for group, version in groups
            ]
        }
    version = "v1" if path == "/api/v1" else path.removeprefix("/apis/")
    if version not in KINDS:
        return None
    verbs = ["get", "list", "watch", "patch"]
    return {
        "resources": [
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": True,
                "verbs": verbs,
            }
            for plural, kind in KINDS[version].items()
        ]
    }


def _matches(body: Mapping[str, Any], selector: str) -> bool:
    """Return whether a field selector that only excludes takes an object."""
    for term in filter(None, selector.split(",")):
        path, value = term.split("!=")
        field: Any = body
        for part in path.split("."):
            field = field.get(part, {})
        if str(field or 0) == value:
            return False
    return True


def _tabulate(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return Tasks as `kubectl get -o wide` would print them."""
    rows = [
        {
            "cells": [
                one["metadata"]["name"],
                one["spec"]["queue"],
                one["status"]["phase"],
                one["status"].get("completionTime"),
                one["spec"].get("ttlAfterFinished"),
            ]
        }
        for one in tasks
    ]
    return {"columnDefinitions": [{"name": name} for name in _COLUMNS], "rows": rows}


def write_kubeconfig(url: str, token: str) -> str:
    """Return a kubeconfig for the server and a user."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "small", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "me", "context": {"cluster": "small", "user": "me"}}],
            "current-context": "me",
        }
    )
