"""Where the probe stands in a training loop: about a step, never in it."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from penchant.integrations._record import Recorder


class Guard:
    """Runs the probe's work; what fails is recorded once and switched off."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    @contextlib.contextmanager
    def __call__(self, what: str, step: int) -> Iterator[None]:
        """Nothing that happens inside reaches the training loop, but an interrupt."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a probe must never end a training
            self.recorder.failure(what, step, error)

    def on(self, what: str) -> bool:
        """Whether it has not failed."""
        return what not in self.recorder.failed


class Hooks:
    """Calls before and after each step of an optimizer, until they are removed."""

    def __init__(
        self,
        optimizer: Any,
        before: Callable[[], None],
        after: Callable[[], None],
    ):
        def ahead(optimizer: Any, args: Any, kwargs: Any) -> Any:
            # trainers hand the backward pass to the step, as a closure: gradients
            # are there once it has run, and not before
            inside, named = list(args), dict(kwargs)
            if len(inside) > 1 and inside[1] is not None:
                inside[1] = _followed(inside[1], before)
            elif named.get("closure") is not None:
                named["closure"] = _followed(named["closure"], before)
            else:
                before()
                return None
            return tuple(inside), named

        def behind(*_: Any) -> None:
            after()

        self._handles = [
            optimizer.register_step_pre_hook(ahead),
            optimizer.register_step_post_hook(behind),
        ]

    def remove(self) -> None:
        """Leave the loop."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _followed(closure: Callable[[], Any], before: Callable[[], None]) -> Any:
    @functools.wraps(closure)
    def both() -> Any:
        value = closure()
        before()
        return value

    return both
