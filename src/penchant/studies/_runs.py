"""Runs that studies draw conclusions from."""

import penchant as pn


def finished(run: pn.Trajectory) -> pn.Trajectory:
    """The run, if it made all its steps: part of one proves nothing about numbers.

    Raises:
        KeyboardInterrupt: If it was interrupted.
        RuntimeError: If it ended early for another reason, which it names.
    """
    if run.outcome is pn.training.Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if run.outcome is not pn.training.Outcome.COMPLETE:
        raise RuntimeError(f"{run!r}: {run.outcome.value}")
    return run
