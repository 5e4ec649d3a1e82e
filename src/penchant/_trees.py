"""Names for the leaves of a pytree."""

from typing import Any

import jax

from penchant._types import Tree


def leaf_names(tree: Tree, alone: str = "weights") -> list[str]:
    """A name for each leaf, its path such as `0.W`; `alone` for a bare array."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [path_name(path) or alone for path, _ in paths]


def path_name(path: tuple[Any, ...]) -> str:
    """A path in a pytree, entries joined by dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
