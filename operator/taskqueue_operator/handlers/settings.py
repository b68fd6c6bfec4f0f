"""How Kopf itself is set up."""

import ssl
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import kopf

from taskqueue_api.names import FINALIZER, GROUP, MANAGER, TASKS
from taskqueue_api.task import FINISHED_PHASES

PREFIX = f"operator.{GROUP}"
_EVENTS_ONLY = "Task"


class DiffBaseStorage(kopf.AnnotationsDiffBaseStorage):
    """Kopf's, but for Tasks: of them there are events alone, which compare nothing.

    Kopf copies and compares each object that it sees, for whatever handlers: for a Task that was
    nearly half of what it did (docs/performance.md).
    """

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return what was handled last; None for a Task."""
        return None if body.get("kind") == _EVENTS_ONLY else super().fetch(body=body)

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None
    ) -> kopf.BodyEssence:
        """Return what is to be compared; nothing of a Task."""
        if body.get("kind") == _EVENTS_ONLY:
            return kopf.BodyEssence()
        return super().build(body=body, extra_fields=extra_fields)


def build() -> kopf.OperatorSettings:
    """Return Kopf's settings for many Tasks, few writes and our own names."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = DiffBaseStorage(prefix=PREFIX)
    # Our own Events say what matters; Kopf's would say what it called.
    settings.posting.enabled = False
    # The kinds are fixed, so nobody need be allowed to list all kinds of the cluster.
    settings.scanning.disabled = True
    # Kopf keeps the last page of each list for as long as it watches.
    settings.watching.chunk_size = 100
    # Only what is unfinished is watched: 10,000 finished Tasks cost nothing at start.
    settings.watching.field_selectors[GROUP, TASKS] = ",".join(
        f"status.phase!={phase}" for phase in FINISHED_PHASES
    )
    for selector in ("deployments", "serviceaccounts", "roles", "rolebindings"):
        settings.watching.label_selectors[selector] = f"app.kubernetes.io/managed-by={MANAGER}"
    # A deletion that waits for something holds one until it is done.
    settings.queueing.worker_limit = 200
    # Until a worker whose object is quiet is free for the next one. With the default of 5 s, 1,000
    # objects at a limit of 100 take 45 s (nolar/kopf#1243).
    settings.queueing.idle_timeout = 0.02
    return settings


class Connection(kopf.ConnectionInfo):
    """Kopf's connection, as lenient about certificates as all of ours (taskqueue_api.tls)."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """Return Kopf's context without Python 3.13's strict check."""
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Log in with the pod's service account, or else with the kubeconfig."""
    found = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
    if found is None:
        return None
    return Connection(**{item.name: getattr(found, item.name) for item in fields(found)})
