"""What the API server says of objects that it must refuse."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from e2e.kubectl import CommandError, Kubectl

Refusal = Callable[[Mapping[str, Any]], str]


@pytest.fixture
def refusal(kubectl: Kubectl) -> Refusal:
    """Give a function that returns what `kubectl apply` says of an object that it must refuse."""

    def refused(document: Mapping[str, Any]) -> str:
        with pytest.raises(CommandError) as error:
            kubectl.run("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(document))
        return str(error.value)

    return refused
