"""Where the probe stands in a training loop: about a step, never in it."""

import functools
from collections.abc import Callable
from typing import Any


class Hooks:
    """Calls before and after each step of an optimizer, until they are removed."""

    def __init__(
        self,
        optimizer: Any,
        before: Callable[[], None],
        after: Callable[[], None],
    ):
        def ahead(optimizer: Any, args: Any, kwargs: Any) -> Any:
            if not kwargs and len(args) < 2:  # (optimizer,): no closure
                before()
                return None
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
