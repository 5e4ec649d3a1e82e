"""Threads of BLAS: one for small systems, and as many as before afterwards."""

import pytest
import scipy.linalg  # noqa: F401  # brings its own BLAS
import threadpoolctl

from penchant._threads import one_blas_thread


def threads():
    return [
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]


def test_one_thread_inside_and_as_many_as_before_outside():
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        assert before
        with one_blas_thread():
            assert set(threads()) == {1}
        assert threads() == before
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
        assert threads() == before
