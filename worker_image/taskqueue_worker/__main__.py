"""`python -m taskqueue_worker`: the container's entrypoint."""

import signal
import sys

# The kernel keeps signals from PID 1 that it has no handler for: without this, a pod that is
# stopped while it starts would be waited for until its grace is over.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from taskqueue_worker.app import main  # noqa: E402

sys.exit(main())
