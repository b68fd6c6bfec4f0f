"""`python -m taskqueue_worker`: the container's entrypoint."""

import signal
import sys

# The kernel keeps signals from PID 1 that it has no handler for: without this, a pod that is
# stopped while it starts would take Tasks until its grace is over. The image starts Python with
# the signal blocked, so that one that came before now is taken now.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

from taskqueue_worker.app import main  # noqa: E402

sys.exit(main())
