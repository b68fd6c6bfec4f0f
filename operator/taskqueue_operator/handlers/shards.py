"""Lets Kopf see only what belongs to this operator's shard.

Kopf's own filters (`when=`) come too late: it takes its finalizer away from an object that no
handler asks for, and that finalizer is of the shard that serves it. Nor can the API server choose,
since no selector knows our hash. So events are dropped where Kopf takes them from the watch, before
it keeps anything of an object or starts a task for it.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from kopf._cogs.clients import watching

from taskqueue_operator.domain.sharding import Shard


@contextmanager
def only(shard: Shard) -> Iterator[None]:
    """Keep from Kopf what is another shard's, in all watches that begin within."""
    if shard.is_whole:
        yield
        return
    everything = watching.infinite_watch

    async def watch(*, resource: Any, **options: Any) -> AsyncIterator[Any]:
        async for event in everything(resource=resource, **options):
            # Kopf's own tells that a list has ended.
            if isinstance(event, watching.Bookmark) or shard.concerns(
                resource.plural, event["object"]
            ):
                yield event

    watching.infinite_watch = watch
    try:
        yield
    finally:
        watching.infinite_watch = everything
