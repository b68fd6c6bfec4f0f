"""The Lease: one operator at a time may act, and knows by itself until when.

standby   another holds it; it is read again every second
leading   it was renewed less than 7 s ago
silent    it was not, though nobody else is known to have it: nothing is published or written
          until a renewal is taken, which shows that nobody had it meanwhile
lost      another holds it, or it was deleted: `keep` raises, and the process has to end
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskqueue_api.conditions import rfc3339_micro
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.leadership import (
    ABSENT,
    DEADLINE_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    Candidacy,
    Identity,
    Record,
    Sighting,
    decide_candidacy,
    note,
)
from taskqueue_operator.errors import ClusterError, ConflictError, LeaseLostError, NotFoundError

API_VERSION = "coordination.k8s.io/v1"
LOOK_SECONDS = 1.0
SHORTEST_SECONDS = 0.05
"""What is left of a wait may be less than the clock can tell: that would be a busy loop."""
REQUEST_SECONDS = 3.0
RELEASE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class LeaseName(NamedTuple):
    """Where the Lease is."""

    namespace: str
    name: str


class Lease:
    """One operator's view of the Lease.

    clock: monotonic, seconds.
    deadline: seconds after a renewal was sent in which it may act; less than LEASE_SECONDS.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        place: LeaseName,
        me: Identity,
        *,
        clock: Callable[[], float] = time.monotonic,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._place = place
        self._me = me
        self._clock = clock
        self._deadline = deadline
        self._seen: Sighting | None = None
        self._until = float("-inf")
        self._fault = "it has not been read yet"
        self._told = ""
        self._acquired = ""

    def leads(self) -> bool:
        """Return whether this process may act now. Cheap; to be asked right before each act."""
        return self._clock() < self._until

    def faults(self) -> list[str]:
        """Return why it is not known who leads, in one sentence."""
        return [f"the Lease cannot be used: {self._fault}"] if self._fault else []

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait for the Lease; False: it is time to stop."""
        while not stop.is_set():
            wait = await self._try_to_take()
            if self.leads():
                return True
            with suppress(TimeoutError):
                pause = max(SHORTEST_SECONDS, min(wait, LOOK_SECONDS))
                await asyncio.wait_for(stop.wait(), pause)
        return False

    async def keep(self) -> None:
        """Renew it for ever. Raises LeaseLostError once another holds it, or it is gone."""
        silent = False
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew()
            except LeaseLostError:
                self._until = float("-inf")
                raise
            except (ClusterError, TimeoutError) as error:
                self._fault = str(error) or "the API server did not answer in time"
            was_silent, silent = silent, not self.leads()
            if silent and not was_silent:
                logger.error("publishing nothing: the Lease is not renewed: %s", self._fault)
            elif was_silent and not silent:
                logger.info("the Lease is renewed again: nobody else had it meanwhile")

    async def release(self) -> None:
        """Give it up, so that the next operator need not wait. Nothing may be done after this."""
        held = self._until > float("-inf")
        self._until = float("-inf")
        if not held:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._write_ours(holder=None)
        except (ClusterError, LeaseLostError, TimeoutError) as error:
            logger.warning("the Lease was not released, the next operator waits: %s", error)
        else:
            logger.info("the Lease is released")

    async def _try_to_take(self) -> float:
        """Take it if it can be taken; return the seconds until it is worth another look."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                self._seen = note(self._seen, await self._read(), self._clock())
            self._fault = ""
            decision = decide_candidacy(self._seen, self._me, self._clock())
            self._tell(decision)
            if not decision.take:
                return decision.wait
            record = self._seen.record
            self._acquired = rfc3339_micro(datetime.now(UTC))
            await self._write(record.version, self._me.holder, record.transitions + 1)
        except ConflictError:
            logger.info("another operator was quicker")
        except (ClusterError, TimeoutError) as error:
            fault = str(error) or "the API server did not answer in time"
            if fault != self._fault:
                logger.warning("the Lease cannot be had: %s", fault)
            self._fault = fault
        else:
            logger.info("leading as '%s'", self._me.holder)
        return LOOK_SECONDS

    async def _renew(self) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            await self._write_ours(self._me.holder)
        self._fault = ""

    async def _write_ours(self, holder: str | None) -> None:
        """Write to the Lease that is ours. Raises LeaseLostError when it is not any more."""
        record = self._seen.record if self._seen else ABSENT
        try:
            await self._write(record.version, holder, record.transitions)
        except NotFoundError as error:
            raise LeaseLostError("it was deleted") from error
        except ConflictError:
            # Somebody put a label on it, or a write of ours was taken whose answer was lost.
            record = await self._read()
            self._seen = Sighting(record, self._clock())
            if record.holder != self._me.holder:
                raise LeaseLostError(f"'{record.holder or 'nobody'}' holds it") from None
            await self._write(record.version, holder, record.transitions)

    async def _read(self) -> Record:
        try:
            body = await self._cluster.get(API_VERSION, "Lease", *self._place)
        except NotFoundError:
            return ABSENT
        return _parse(body)

    async def _write(self, version: str, holder: str | None, transitions: int) -> None:
        """Write the Lease as it is to be, over the version that was read. holder None: nobody."""
        now = rfc3339_micro(datetime.now(UTC))
        metadata = {"namespace": self._place.namespace, "name": self._place.name}
        spec = {
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "acquireTime": self._acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        if holder is not None:
            spec["holderIdentity"] = holder
        if version:
            metadata["resourceVersion"] = version
        body = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
        # Counted from before the request: the others count from what they see of it, later.
        sent = self._clock()
        async with asyncio.timeout(REQUEST_SECONDS):
            if version:
                body = await self._cluster.replace_lease(body)
            else:
                body = await self._cluster.create_lease(body)
        self._seen = Sighting(_parse(body), self._clock())
        if holder is not None:
            self._until = sent + self._deadline

    def _tell(self, decision: Candidacy) -> None:
        text = ("taking the Lease: " if decision.take else "standing by: ") + decision.reason
        if text != self._told:
            logger.info("%s", text)
        self._told = text


def _parse(body: dict[str, Any]) -> Record:
    spec = body.get("spec") or {}
    return Record(
        version=body["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or LEASE_SECONDS),
        transitions=int(spec.get("leaseTransitions") or 0),
    )
