"""What the API server says of objects that it must refuse, as `kubectl apply` shows it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from e2e.api import Api, ApiError
from e2e.kubectl import Kubectl

Refusal = Callable[[Mapping[str, Any]], str]


@pytest.fixture
def refusal(release: Api, kubectl: Kubectl) -> Refusal:
    """Give a function that returns what the API server says of an object that it must refuse."""

    def refused(document: Mapping[str, Any]) -> str:
        metadata = {**document["metadata"], "namespace": kubectl.namespace}
        with pytest.raises(ApiError) as error:
            release.create({**document, "metadata": metadata}, dry_run=True)
        return error.value.message

    return refused
