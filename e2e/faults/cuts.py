"""A cable pulled: what a pod sends to some addresses goes nowhere."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from e2e.node.network import CUT_PREFIX


@contextmanager
def cut(pod: Mapping[str, Any], *addresses: str) -> Iterator[None]:
    """Drop what a pod and these IPv4 addresses send each other; connections stay open and silent.

    In front of kube-proxy's translation, so that a Service's own address counts for what goes
    there, and its pods' for what comes back. What a process of the node itself sends passes.
    """
    address = pod["status"]["podIP"]
    table = CUT_PREFIX + pod["metadata"]["uid"].replace("-", "_")
    others = f"{{ {', '.join(addresses)} }}"
    # With the line ends that older versions of nft insist on.
    rules = f"""
        type filter hook prerouting priority -350; policy accept;
        ip saddr {address} ip daddr {others} drop
        ip saddr {others} ip daddr {address} drop
    """
    run_nft(f"table ip {table} {{\nchain cut {{{rules}}}\n}}\n")
    try:
        yield
    finally:
        run_nft(f"delete table ip {table}")


def run_nft(text: str) -> None:
    """Let nft read commands. Raises CalledProcessError."""
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
