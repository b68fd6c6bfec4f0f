"""Bounds how many TaskQueues of a broker are reconciled at once."""

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from taskqueue_operator.domain.dispatching import QueueKey

PARALLEL = 8
"""A start with hundreds of TaskQueues would else hold the manifests and answers of all."""


class Slots:
    """One bound for each broker, told by its Secret: one that hangs holds no other's up."""

    def __init__(self) -> None:
        # Each lasts for as long as somebody holds it or waits for it.
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, key: QueueKey, body: Mapping[str, Any] | None) -> asyncio.Semaphore:
        """Return the bound of a TaskQueue's broker. body: the TaskQueue; None: it is gone."""
        spec = body["spec"] if body else {}
        secret = (spec.get("broker") or {}).get("secretRef")
        place = f"{key.namespace}/{secret['name']}" if secret else ""
        return self._slots.setdefault(place, asyncio.Semaphore(PARALLEL))
