"""How do many clients ask at the same moment?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.campaigns.client import Answer, Client

Request = Callable[[Client], Answer]


class Crowd:
    """Clients with a connection and a thread each; the first asks at the first node, and so on."""

    def __init__(self, clients: Sequence[Client], pool: ThreadPoolExecutor) -> None:
        self._clients = clients
        self._pool = pool

    def at_once(self, requests: Sequence[Request]) -> list[Answer]:
        """Send every request from a client of its own, all at the same moment."""
        assert len(requests) <= len(self._clients)
        barrier = threading.Barrier(len(requests))

        def ask(client: Client, request: Request) -> Answer:
            barrier.wait()
            return request(client)

        return list(self._pool.map(ask, self._clients, requests))


@contextmanager
def crowd(urls: Sequence[str], authorizations: Sequence[str]) -> Iterator[Crowd]:
    """Open a client for each credential, going round the nodes."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Client(urls[number % len(urls)], authorization))
            for number, authorization in enumerate(authorizations)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(clients)))
        yield Crowd(clients, pool)
