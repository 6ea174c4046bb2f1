"""``python -m softswitch.media.nursery FD``: the process that media workers are forked from.

It has loaded pjsua2 and does nothing with it: a worker takes a few milliseconds to fork, and shares
most of its memory. FD is a socket (SOCK_SEQPACKET); each message is one descriptor (SCM_RIGHTS), a
new worker's end of its socket pair. It ends with that socket, and so do its workers with theirs.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from softswitch.media.worker import Worker


def main(descriptor: int) -> None:
    """Fork workers until the switch is gone."""
    # Ctrl-C in a terminal is for the switch, which ends its workers when it does not need them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to wait for them
    gc.freeze()
    wanted = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(wanted, 1, 1)
        if not message:
            return
        (orders,) = descriptors
        if os.fork():
            os.close(orders)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        wanted.close()
        status = 1
        try:
            Worker(socket.socket(fileno=orders)).run()
            status = 0
        finally:
            # Not by way of what pjsua2 would tidy up: a media thread may be at it.
            os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
