"""Features that are pixels: the shape of an image, and pictures of what it holds."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Image = tuple[int, ...]
"""`(h, w)`, `(h, w, 1 or 3)`, or with the planes first `(1 or 3, h, w)`."""

LEAST, LONGEST = 4, 4
"""Pixels a side, and sides to each other, of an array of samples taken for images."""

_ONE = re.compile(r"(?:pixel|pix|px)[ _.-]?(\d+)", re.IGNORECASE)
_TWO = re.compile(
    r"(?:pixel|pix|px)[ _.-]?(\d+)[ _.,x-](\d+)|(\d+)x(\d+)", re.IGNORECASE
)


def read_image(value: Any, features: int) -> Image | None:
    """The shape of an image from a tuple, text such as `28x28`, or None and "none".

    Raises:
        TypeError: If it is something else.
        ValueError: If it is no image of so many features.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    parts: Any = value
    if isinstance(value, str):
        parts = re.split(r"\s*[x×,]\s*", value.strip().lower())
        if not all(part.isdecimal() and len(part) < 9 for part in parts):
            raise ValueError(
                f"image must be height x width, as in 28x28 or 32x32x3; got {value!r}."
            )
        parts = tuple(map(int, parts))
    whole = lambda n: isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if not isinstance(parts, (tuple, list)) or not all(map(whole, parts)):
        raise TypeError(
            "image must be the height and width of the images that samples are, as in "
            f"(28, 28), (32, 32, 3) or '28x28'; got {value!r:.100}."
        )
    shape = tuple(int(n) for n in parts)
    flat = len(shape) == 2
    coloured = len(shape) == 3 and (shape[2] in (1, 3) or shape[0] in (1, 3))
    if not (flat or coloured) or min(shape) < 1:
        raise ValueError(
            "image must be (height, width), or with 1 or 3 colours (height, width, "
            f"colours) or (colours, height, width); got {shape}."
        )
    if math.prod(shape) != features:
        raise ValueError(
            f"image must have as many pixels as there are features, {features}; "
            f"{' x '.join(map(str, shape))} has {math.prod(shape)}."
        )
    return shape


def written(image: Image) -> str:
    """As people write it: 28 × 28."""
    return " × ".join(map(str, image))


def of_shape(shape: Sequence[int]) -> Image | None:
    """Whether samples of an array of this shape are likely images."""
    shape = tuple(int(n) for n in shape)
    if len(shape) == 3 and not (shape[2] in (1, 3) or shape[0] in (1, 3)):
        return None
    if len(shape) not in (2, 3):
        return None
    height, width = _sides(shape)
    fits = min(height, width) >= LEAST and max(height, width) <= LONGEST * min(
        height, width
    )
    return shape if fits else None


def of_names(names: Iterable[str]) -> Image | None:
    """The shape that the names of pixels give away.

    Two numbers a name that run over a grid row by row say it (`pixel_0_0`, `1x1`).
    One number a name (`pixel0`, `pixel1`, …) leaves the shape open; a square is then
    the only guess, and the caller says that it is one.
    """
    names = list(names)
    both = [_TWO.fullmatch(name.strip()) for name in names]
    if names and all(both):
        found = [tuple(int(n) for n in m.groups() if n is not None) for m in both if m]
        first, last = found[0], found[-1]
        height, width = last[0] - first[0] + 1, last[1] - first[1] + 1
        grid = [
            (first[0] + i, first[1] + j) for i in range(height) for j in range(width)
        ]
        return (height, width) if found == grid and min(height, width) > 1 else None
    one = [_ONE.fullmatch(name.strip()) for name in names]
    side = math.isqrt(len(names))
    if not all(one) or side < LEAST or side**2 != len(names):
        return None
    numbers = [int(m[1]) for m in one if m]
    in_order = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return (side, side) if in_order and numbers[0] in (0, 1) else None


def pictures(values: Any, image: Image) -> np.ndarray:
    """`(..., d)` numbers as pictures: `(..., h, w)`, or `(..., h, w, 3)` in colour."""
    values = np.asarray(values)
    shown = values.reshape(*values.shape[:-1], *image)
    if len(image) == 2:
        return shown
    if image[2] not in (1, 3):  # the planes come first
        shown = np.moveaxis(shown, -3, -1)
    return shown[..., 0] if shown.shape[-1] == 1 else shown


def _sides(image: Sequence[int]) -> tuple[int, int]:
    if len(image) == 2 or image[2] in (1, 3):
        return image[0], image[1]
    return image[1], image[2]
