"""A disposable, real Kubernetes cluster on this machine: `python -m e2e.node up`.

With a Docker engine the cluster is kind's. Without one, on Linux as root, every component of
Kubernetes is built from its own source and runs here as an ordinary process: a node.
"""
