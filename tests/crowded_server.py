"""A teacher that answers so many at once and no more: the others are told to come again."""

import threading
import time

from faulty_server import FaultyServer, Handler, faulty_server


class CrowdedServer(FaultyServer):
    """Each answer takes `seconds`; at most `at_once` are worked on, where that is set."""

    def __init__(self):
        super().__init__(_Handler)
        self.at_once, self.seconds = None, 0.02
        self.answered = self.told_to_wait = self._inside = 0
        self._door = threading.Lock()

    def busy_seconds(self):
        """From the first arrival to now."""
        return time.monotonic() - min(min(times) for times in self.arrivals.values())


class _Handler(Handler):
    def work(self, request, fault):
        server = self.server
        with server._door:
            comes_in = server.at_once is None or server._inside < server.at_once
            server._inside += comes_in
            server.told_to_wait += not comes_in
            server.most_at_once = max(server.most_at_once, server._inside)
        if not comes_in:
            self.refuse(429, "too many at once")
            return
        server.released.wait(server.seconds)
        with server._door:
            server._inside -= 1
            server.answered += 1
        super().work(request, fault)


def crowded_server():
    """As `faulty_server`."""
    return faulty_server(CrowdedServer)
