"""A torch optimizer on one parameter, whose gradient is set by hand."""

import inspect
from typing import Any

import numpy as np

from penchant._types import Tree
from penchant.estimators.identification._box import AbstractBox, StrangerError, asked


def is_torch_class(value: object) -> bool:
    """Whether it is a class of torch optimizers, without importing torch."""
    if not inspect.isclass(value):
        return False
    names = {f"{k.__module__}.{k.__name__}" for k in value.__mro__}
    return "torch.optim.optimizer.Optimizer" in names


class TorchBox(AbstractBox):
    """`make([parameter], **kwargs)`, stepped with the gradients that it is given.

    The state lies in the optimizer; `start` makes a new one.
    """

    def __init__(
        self,
        make: Any,
        kwargs: dict[str, Any],
        shape: tuple[int, ...],
        dtype: str,
    ):
        import torch

        super().__init__(shape, dtype)
        self.make, self.kwargs, self.torch = make, kwargs, torch
        self.format = getattr(torch, dtype)
        _, made = self.start(np.zeros(shape))
        groups = getattr(made, "param_groups", [{}])
        rate = groups[0].get("lr")
        if rate is None:
            rate = kwargs.get("lr", 1.0)
        self.declared, self.declares = float(rate), True
        if self.declared == 0:
            raise StrangerError("rule must have a learning rate above 0; got lr=0.")

    def at(self, dtype: str, shape: tuple[int, ...] | None = None) -> "TorchBox":
        return TorchBox(self.make, self.kwargs, shape or self.shape, dtype)

    def start(self, w: np.ndarray) -> Any:
        given = self.packed(w, self._parameter)
        leaves = given if self.leaves else [given]
        made = asked("be made", lambda: self.make(leaves, **self.kwargs))
        return leaves, made

    def _parameter(self, x: np.ndarray) -> Any:
        return self.torch.nn.Parameter(self._array(x))

    def _array(self, x: np.ndarray) -> Any:
        return self.torch.tensor(np.ascontiguousarray(x), dtype=self.format)

    def _values(self, leaves: list[Any]) -> np.ndarray:
        arrays = [leaf.detach().double().numpy().copy() for leaf in leaves]
        return self.unpacked(arrays) if self.leaves else arrays[0]

    def step(self, g: np.ndarray, state: Tree, w: np.ndarray) -> tuple[np.ndarray, Any]:
        leaves, made = state
        at, slopes = self.packed(w, self._array), self.packed(g, self._array)
        listed = zip(
            leaves,
            at if self.leaves else [at],
            slopes if self.leaves else [slopes],
            strict=True,
        )
        with self.torch.no_grad():
            for leaf, value, slope in listed:
                leaf.copy_(value)
                leaf.grad = slope
        before = self._values(leaves)
        try:
            made.step()
        except (TypeError, RuntimeError) as error:
            if "closure" in str(error):
                raise StrangerError(
                    f"rule must step by a gradient alone; {type(made).__name__} asks "
                    "for a closure that computes the loss again."
                ) from error
            asked("step", _again, error)
        except Exception as error:  # noqa: BLE001 - a stranger's code raises what it likes
            asked("step", _again, error)
        return self.check(self._values(leaves) - before), state


def _again(error: Exception) -> None:
    raise error
