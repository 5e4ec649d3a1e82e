"""Threads of BLAS, and when several are not worth it."""

import contextlib
import functools
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread for the products and factorisations of NumPy and SciPy.

    Small ones wait for each other's threads longer than they work: on a machine with
    other work to do, 50 rows in 10,000 features took 23 ms with two and 1.5 ms so.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _libraries() -> ThreadpoolController:
    """The libraries loaded, looked up once: that alone takes a millisecond."""
    import scipy.linalg  # noqa: F401  # else its BLAS would not be among them

    return ThreadpoolController()
