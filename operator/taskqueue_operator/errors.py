"""The operator's errors.

OperatorError
├── BrokerError                 RabbitMQ, or the way to it
│   ├── BrokerUnavailableError  cannot be reached now; try again
│   └── BrokerRefusedError      it answered no, with a reason of its own
├── ManagementError             the management API
│   ├── ManagementUnavailableError
│   └── ManagementRefusedError
├── ClusterError                the API server
│   ├── NotFoundError
│   ├── ConflictError           also a JSON Patch whose test failed
│   ├── NamespaceTerminatingError
│   └── ClusterUnavailableError cannot be reached or is overloaded; try again
│       └── NotLeaderError  nothing was sent: another operator may lead by now
├── LeaseLostError              another operator leads; this process has to end
└── ConfigurationError          what a person wrote cannot work; carries a condition's reason
"""


class OperatorError(Exception):
    """Base of the operator's own errors; the message is fit for a person."""


class BrokerError(OperatorError):
    """RabbitMQ, or the way to it.

    reason: CamelCase, for a condition.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BrokerUnavailableError(BrokerError):
    """RabbitMQ cannot be reached, or closed the connection."""


class BrokerRefusedError(BrokerError):
    """RabbitMQ answered no: credentials, permissions, or other arguments."""


class ManagementError(OperatorError):
    """RabbitMQ's management API."""


class ManagementUnavailableError(ManagementError):
    """The management API cannot be reached, or is not there."""


class ManagementRefusedError(ManagementError):
    """The management API answered no."""


class ClusterError(OperatorError):
    """The API server refused a request.

    status: HTTP status, 0 when there was no answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ClusterError):
    """The object is not there."""


class ConflictError(ClusterError):
    """The object is not in the state that the request was made for (409 or 422)."""


class NamespaceTerminatingError(ClusterError):
    """The namespace is being deleted and takes nothing new."""


class ClusterUnavailableError(ClusterError):
    """The API server cannot be reached, or is overloaded."""


class NotLeaderError(ClusterUnavailableError):
    """Nothing was sent, since this operator's lease is over: another may lead by now."""

    def __init__(self) -> None:
        super().__init__(0, "the lease of this operator is over")


class LeaseLostError(OperatorError):
    """Another operator leads; this process has to end."""


class ConfigurationError(OperatorError):
    """What a person wrote cannot work.

    reason: CamelCase, for a condition.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
