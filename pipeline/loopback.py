"""A server that a run starts for itself, on loopback, in a process that ends with the run."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading


def listen_for_parent() -> socket.socket:
    """Listen on a free port, print it as JSON, and end this process when standard input ends.

    Standard input is a pipe that only the run holds, so the process also ends with a run that is
    killed.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else 40 ms a request

    def end_with_parent() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.stdout.write(json.dumps({"port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    return listener
