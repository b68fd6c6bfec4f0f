"""What the tests of the protocol share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep no log: the real code writes a line for each of a hundred thousand refusals."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
