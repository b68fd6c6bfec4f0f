"""The launcher: a small process that starts, kills and reaps whatever runs handlers.

The worker has threads and a loop, so it must not fork. This process has neither. For Python
handlers it imports the user's module once and forks a slot per request, so that slots share the
module's memory and start in milliseconds; if the import started threads, forking would be unsafe
and every slot is a process of its own that imports the module again. For `exec` it spawns the
command.

It is a subreaper: a process that a handler left behind becomes its child, and is reaped by it,
as PID 1 of the container should do. It kills a whole process group as soon as the group's leader
has ended and before the leader is reaped, when the group's id cannot belong to anybody else yet.

Run as `python -m taskqueue_worker.launcher SOCKET HANDLERS`, by the worker only.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import inspect
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback
from typing import Any

from taskqueue_worker.descriptors import receive
from taskqueue_worker.sdk import REGISTRY
from taskqueue_worker.slot import flush_printed, serve

_PR_SET_CHILD_SUBREAPER = 36
_MESSAGE_BYTES = 64 * 1024
_FRAMES_SHOWN = 4
_SLOT_OPTION = "--slot"
_STANDARD = (0, 1, 2)
_PRINTED = (1, 2)
_NEVER_STARTS = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR})
"""Of a program that is not there or none. Others, say for memory or processes, may pass."""


def main(arguments: list[str]) -> int:
    """Serve the worker on the socket given; 0 when it closed it, 1 when nothing can be run."""
    link = _own_socket(arguments[0])
    handlers = json.loads(arguments[1])
    if arguments[2:3] == [_SLOT_OPTION]:
        importlib.import_module(handlers["python"]["module"])
        _become_slot(link, _own_socket(arguments[3]))
        return 0
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    greeting = _load(handlers)
    link.send(json.dumps(greeting).encode())
    if "failed" in greeting:
        return 1
    flush_printed()  # or every slot would print it again
    gc.freeze()  # the collector must not touch, and so copy, the pages that slots share
    Launcher(link, arguments[1], forks=not greeting.get("threads", False)).run()
    return 0


def _own_socket(descriptor: str) -> socket.socket:
    """Return a socket that was handed down to this process, and to none that it starts."""
    connection = socket.socket(fileno=int(descriptor))
    connection.set_inheritable(False)
    return connection


def _load(handlers: dict[str, Any]) -> dict[str, Any]:
    """Import the user's module, or look for the command. Return what the worker is told."""
    if "exec" in handlers:
        program = handlers["exec"]["command"][0]
        if shutil.which(program) is None:
            return {"failed": f"command '{program}' is not there or cannot be executed"}
        return {"handlers": None}
    module = handlers["python"]["module"]
    try:
        importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001 - whatever an import raises is reported
        frames = traceback.format_exception(type(error), error, error.__traceback__, -_FRAMES_SHOWN)
        return {
            "failed": f"module '{module}' cannot be imported: {type(error).__name__}: {error}",
            "traceback": "".join(frames)[-8000:],
        }
    if any(inspect.iscoroutinefunction(h.function) for h in REGISTRY.handlers.values()):
        importlib.import_module("asyncio")  # once, for all slots
    names = sorted(REGISTRY.handlers)
    if not names:
        return {"failed": f"module '{module}' registers no handler with @task"}
    return {"handlers": names, "threads": sum(1 for _ in os.scandir("/proc/self/task")) > 1}


class Launcher:
    """The loop of the process, and what it has started.

    forks: whether slots are forked; else each is a process that imports the module itself.
    """

    def __init__(self, link: socket.socket, handlers: str, *, forks: bool) -> None:
        self._link = link
        self._handlers = handlers
        self._forks = forks
        self._command = json.loads(handlers).get("exec", {}).get("command")
        self._numbers: dict[int, int] = {}  # the worker's number of what runs, by process id
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        """Serve until the worker closes the socket; nothing that it started outlives this."""
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the worker decides when to end
        try:
            while self._serve():
                continue
        finally:
            for pid in list(self._numbers):
                _kill_group(pid, signal.SIGKILL)

    def _serve(self) -> bool:
        """Wait for something to do and do it; False when the worker has closed the socket."""
        readable, _, _ = select.select([self._link.fileno(), self._wake_read], [], [])
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
            self._reap()
        return self._link.fileno() not in readable or self._receive()

    def _receive(self) -> bool:
        data, descriptors = receive(self._link, _MESSAGE_BYTES, 3, 0)
        if not data:
            return False
        request = json.loads(data)
        if request["do"] == "kill":
            for pid, number in self._numbers.items():
                if number == request["number"]:
                    _kill_group(pid, request["signal"])
            return True
        try:
            pid = self._start(request, descriptors)
        except OSError as error:
            words = error.strerror or str(error)
            self._refuse(request, words, permanent=error.errno in _NEVER_STARTS)
        except ValueError as error:  # a NUL in what the program is told: a message may hold any
            self._refuse(request, str(error), permanent=True)
        else:
            self._numbers[pid] = request["number"]
            _prefer_as_victim(pid)
            self._tell({"started": request["number"], "pid": pid})
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _refuse(self, request: dict[str, Any], words: str, *, permanent: bool) -> None:
        self._tell({"refused": request["number"], "error": words, "permanent": permanent})

    def _start(self, request: dict[str, Any], descriptors: list[int]) -> int:
        if self._command:
            environment = {**os.environ, **request["env"]}
            return _spawn(
                self._command, environment, dict(zip(_STANDARD, descriptors, strict=False))
            )
        *sockets, output = descriptors
        if self._forks:
            return self._fork(sockets, output)
        inherited = [os.dup(descriptor) for descriptor in sockets]
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        jobs, answers = map(str, inherited)
        arguments = ["-m", "taskqueue_worker.launcher", jobs, self._handlers, _SLOT_OPTION, answers]
        try:
            return _spawn(
                [sys.executable, *arguments], dict(os.environ), dict.fromkeys(_PRINTED, output)
            )
        finally:
            for descriptor in inherited:
                os.close(descriptor)

    def _fork(self, sockets: list[int], output: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._link.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            for descriptor in _PRINTED:
                os.dup2(output, descriptor)
            os.close(output)
            _become_slot(*(socket.socket(fileno=descriptor) for descriptor in sockets))
            status = 0
        finally:
            # Never back into the launcher's loop, whatever happened.
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            number = self._numbers.pop(ended.si_pid, None)
            if number is not None:
                _kill_group(ended.si_pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            if number is not None:
                self._tell({"exited": number, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        # A worker that has gone is noticed by the next read.
        with contextlib.suppress(OSError):
            self._link.send(json.dumps(message).encode())


def _become_slot(jobs: socket.socket, answers: socket.socket) -> None:
    """Run jobs in this process until the worker closes their socket."""
    jobs.setblocking(True)
    answers.setblocking(True)
    serve(jobs, answers, REGISTRY.handlers)


def _prefer_as_victim(pid: int) -> None:
    """Have the kernel kill handlers, not the worker, when the container's memory is used up."""
    # It may have ended already.
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")


def _spawn(command: list[str], environment: dict[str, str], standard: dict[int, int]) -> int:
    """Start a program as leader of a session of its own. Raises OSError.

    standard: the descriptors that become its standard ones, by their number there.
    """
    duplicates = [
        (os.POSIX_SPAWN_DUP2, descriptor, target) for target, descriptor in standard.items()
    ]
    return os.posix_spawnp(
        command[0],
        command,
        environment,
        file_actions=duplicates,
        setsid=True,
        # Python ignores these; a program expects the defaults.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM],
    )


def _kill_group(pid: int, number: int) -> None:
    """Signal a process and its group; in its first moments it has no group of its own yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    # As __main__ this module would be there twice, and with it the class of its errors.
    from taskqueue_worker.launcher import main as _main

    sys.exit(_main(sys.argv[1:]))
