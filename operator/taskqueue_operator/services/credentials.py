"""The workers' own RabbitMQ user, and the Secret that hands it to them."""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from taskqueue_api import names
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.broker_address import BrokerAddress, decode_secret
from taskqueue_operator.domain.broker_user import password_hash
from taskqueue_operator.domain.readiness import Finding
from taskqueue_operator.domain.workers import Owner
from taskqueue_operator.errors import ManagementError, ManagementUnavailableError, NotFoundError
from taskqueue_operator.services.brokers import BrokerChoice, Brokers


class WorkerCredentials(NamedTuple):
    """What the workers connect with; address None: they can be given nothing.

    secret: the object that hands it to them, as it is; None: it is not there.
    """

    address: BrokerAddress | None
    finding: Finding
    secret: Mapping[str, Any] | None = None


class Credentials:
    """Keeps each TaskQueue's RabbitMQ user as it should be."""

    def __init__(self, cluster: ClusterClient, brokers: Brokers) -> None:
        self._cluster = cluster
        self._brokers = brokers

    async def ensure(self, owner: Owner, choice: BrokerChoice) -> WorkerCredentials:
        """Return what the workers connect with, making their user where that is possible.

        Workers never get the operator's or another namespace's credentials: without a
        management API they get the named Secret's only if it is of their own namespace.
        """
        username = names.broker_user(owner.namespace, owner.name, owner.uid)
        secret = await self._read_secret(owner)
        found = await self._ensure_user(owner, choice, username, secret)
        return found._replace(secret=secret)

    async def _ensure_user(
        self,
        owner: Owner,
        choice: BrokerChoice,
        username: str,
        secret: Mapping[str, Any] | None,
    ) -> WorkerCredentials:
        kept = read_password(owner, username, secret)
        password = kept or secrets.token_urlsafe(32)
        address = choice.address.for_user(username, password)
        try:
            management = await self._brokers.management(choice.address)
            await management.ensure_user(
                username,
                password_hash(password, username),
                names.user_permissions(owner.namespace, owner.name),
                names.topic_permissions(owner.namespace, owner.name),
            )
        except ManagementError as error:
            self._brokers.forget_management(choice.address, error)
            return self._without_management(choice, address if kept else None, error)
        return WorkerCredentials(
            address,
            Finding(
                "True",
                "DedicatedUser",
                f"the workers connect as their own RabbitMQ user '{username}'",
            ),
        )

    async def remove(self, owner: Owner, address: BrokerAddress) -> None:
        """Delete the workers' user. Raises ManagementError."""
        management = await self._brokers.management(address)
        await management.delete_user(names.broker_user(owner.namespace, owner.name, owner.uid))

    def _without_management(
        self, choice: BrokerChoice, kept: BrokerAddress | None, error: ManagementError
    ) -> WorkerCredentials:
        if kept is not None:
            # The user was made earlier and is still there; only its repair has to wait.
            return WorkerCredentials(
                kept, Finding("Unknown", "ManagementUnavailable", f"cannot be checked: {error}")
            )
        if choice.own and isinstance(error, ManagementUnavailableError):
            return WorkerCredentials(
                choice.address,
                Finding(
                    "False",
                    "SharedSecret",
                    "the workers use the named Secret as it is, because they could not be given "
                    f"a RabbitMQ user of their own: {error}",
                ),
            )
        advice = "the broker's user needs the tag 'administrator'"
        if not choice.own:
            advice += ", or name a Secret of the TaskQueue's own namespace in spec.broker.secretRef"
        return WorkerCredentials(
            None,
            Finding(
                "False",
                "ManagementUnavailable"
                if isinstance(error, ManagementUnavailableError)
                else "ManagementRefused",
                "the workers cannot be given a RabbitMQ user of their own, and may not have the "
                f"operator's: {error}; {advice}",
            ),
        )

    async def _read_secret(self, owner: Owner) -> Mapping[str, Any] | None:
        name = names.broker_secret(owner.name)
        try:
            return await self._cluster.get("v1", "Secret", owner.namespace, name)
        except NotFoundError:
            return None


def read_password(owner: Owner, username: str, secret: Mapping[str, Any] | None) -> str | None:
    """Return the password that the workers have already; None: they have none.

    secret: the one that would hold it, whosever it is; None: there is none.
    """
    if secret is None:
        return None
    references = secret["metadata"].get("ownerReferences", [])
    if not any(reference["uid"] == owner.uid for reference in references):
        return None
    try:
        parts = urlsplit(decode_secret(secret).get("uri", ""))
    except ValueError:
        return None
    if unquote(parts.username or "") != username:
        return None
    return unquote(parts.password or "") or None
