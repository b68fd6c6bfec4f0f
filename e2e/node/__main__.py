"""The command line: `python -m e2e.node up|down|status|restart|stop|images|rabbitmq`."""

import argparse
import sys

from e2e.node import kind, node, paths, project_images
from e2e.node.base_images import RABBITMQ
from e2e.node.console import NodeError, is_successful


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up; what runs already is left alone")
    commands.add_parser("down", help="take it down, leaving nothing behind")
    commands.add_parser("status", help="one line per component")
    commands.add_parser("images", help="build the project's images and load them")
    rabbitmq = commands.add_parser("rabbitmq", help="load the image of another RabbitMQ")
    rabbitmq.add_argument("version", choices=sorted(RABBITMQ))
    for name in ("restart", "stop"):
        command = commands.add_parser(name, help=f"{name} one component")
        command.add_argument("component")
        command.add_argument("--kill", action="store_true", help="by SIGKILL, with no grace")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # A node that is there stays the backend, even if a Docker engine was started since.
    backend = kind if not paths.STATE.exists() and is_successful(["docker", "info"]) else node
    match arguments.command:
        case "up":
            backend.up()
        case "down":
            backend.down()
        case "status":
            return 1 if backend.status() else 0
        case "images":
            if backend is kind:
                kind.load_project_images()
            else:
                project_images.build_and_load()
        case "rabbitmq":
            if backend is kind:
                raise NodeError("Images for a kind cluster are pulled, and loaded by `kind load`.")
            project_images.load_rabbitmq(arguments.version)
        case "restart" | "stop":
            if backend is kind:
                raise NodeError("The components of a kind cluster cannot be stopped one by one.")
            act = node.restart if arguments.command == "restart" else node.stop
            act(arguments.component, grace_seconds=0 if arguments.kill else 10)
    return 0


def main() -> int:
    """Run one command; 1 and a sentence on standard error when it fails."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except NodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
