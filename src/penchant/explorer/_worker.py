"""Work of a page, off the server's thread: one piece at a time, then the latest."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Job = TypeVar("Job")

_POOL = ThreadPoolExecutor(1, thread_name_prefix="penchant-explore")


class Worker(Generic[Job]):
    """Does what it is asked, one piece at a time; of what waits, only the last.

    All pages share one thread, in turn: however fast a page asks, it has one piece
    under way and one waiting.

    Args:
        work: What is done with what is asked.
    """

    def __init__(self, work: Callable[[Job], None]):
        self._work = work
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._busy = False

    def ask(self, job: Job) -> None:
        """Have this done next, in place of what waits."""
        with self._lock:
            self._waiting = [job]
            if self._busy:
                return
            self._busy = True
        _POOL.submit(self._next)

    def _next(self) -> None:
        with self._lock:
            job = self._waiting.pop()
        try:
            self._work(job)
        finally:
            with self._lock:
                again = self._busy = bool(self._waiting)
            if again:
                _POOL.submit(self._next)
