"""What a page shows: a few numbers and words, which its address carries."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from penchant import optimizers
from penchant._visible import visible
from penchant._words import look_up
from penchant.problems.losses import LOSSES
from penchant.training.batching import ORDERS

Point: TypeAlias = tuple[float, float, int]
"""A sample of two features, and its label, 1 or -1."""

LOOPBACK = "127.0.0.1"
"""The address that this machine alone sees."""

MOST_POINTS = 128
LONGEST = 8000
"""Characters of an address that are read."""

POLARS = ("exact", "ns:5", "cubic:15", "express:8")
RULES = {
    "features": (
        "adam", "gd", "momentum", "sign", "signum", "rmsprop", "adagrad", "nadam",
        "lion",
    ),
    "weights": (
        "adam", "gd", "momentum", "sign", "signum", "rmsprop", "adagrad", "nadam",
        "lion", "spectral", "muon",
    ),
    "landscape": ("adam", "gd", "momentum", "rmsprop"),
}  # fmt: skip
"""The rules that each view offers."""

DATA = ("rademacher", "centres", "digits", "given")
LANDSCAPES = ("ellipse", "valley", "pair")

CORNERS: tuple[Point, ...] = (
    (2.5, 1.8, 1),
    (0.5, 2.0, 1),
    (0.2, 0.9, 1),
    (0.0, 1.7, 1),
    (0.1, -2.8, -1),
    (1.0, -2.0, -1),
    (1.8, -1.9, -1),
    (1.2, -1.7, -1),
)
"""Points whose three largest margins lie apart."""


@dataclass(frozen=True)
class Number:
    """A number within bounds."""

    least: float
    most: float
    whole: bool = False

    def read(self, text: str) -> Any:
        """What a text says; ValueError where it is no number."""
        return int(text) if self.whole else float(text)

    def holds(self, value: object) -> bool:
        """Whether it is a number, and within bounds."""
        kinds = int if self.whole else (int, float)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and self.least <= value <= self.most
        )

    @property
    def wanted(self) -> str:
        """What must hold, in words."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def read(self, text: str) -> Any:
        """The word itself."""
        return text

    def holds(self, value: object) -> bool:
        """Whether it is one of them."""
        return value in self.words

    @property
    def wanted(self) -> str:
        """What must hold, in words."""
        return "one of " + ", ".join(self.words)


@dataclass(frozen=True)
class Switch:
    """On or off."""

    wanted = "0 or 1"

    def read(self, text: str) -> Any:
        """1 is on, 0 is off."""
        return {"0": False, "1": True}[text]

    def holds(self, value: object) -> bool:
        """Whether it is a truth value."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Points:
    """Samples of two features, as x_y_label and a tilde between them."""

    wanted = (
        f"1 to {MOST_POINTS} points x_y_label with a tilde between them, each number "
        "from -1000 to 1000 and each label 1 or -1"
    )

    def read(self, text: str) -> Any:
        """The points of a text; ValueError where it holds none."""
        points = []
        for part in text.split("~")[: MOST_POINTS + 1]:
            x, y, label = part.split("_")
            points.append((float(x), float(y), int(label)))
        return tuple(points)

    def holds(self, value: object) -> bool:
        """Whether these are points, and not too many."""
        return (
            isinstance(value, tuple)
            and 0 < len(value) <= MOST_POINTS
            and all(self._is_point(point) for point in value)
        )

    def _is_point(self, point: object) -> bool:
        if not (isinstance(point, tuple) and len(point) == 3):
            return False
        place = Number(-1000.0, 1000.0)
        return all(map(place.holds, point[:2])) and point[2] in (-1, 1)


Kind: TypeAlias = Number | Choice | Switch | Points

KINDS: dict[str, Kind] = {
    "view": Choice(tuple(RULES)),
    "points": Points(),
    "bias": Switch(),
    "data": Choice(DATA),
    "landscape": Choice(LANDSCAPES),
    "loss": Choice(tuple(LOSSES)),
    "rule": Choice(RULES["weights"]),
    "b1": Number(0.0, 0.9999),
    "b2": Number(0.0, 0.999999),
    "eps": Number(0.0, 1.0),
    "polar": Choice(POLARS),
    "batch": Number(0, MOST_POINTS, whole=True),
    "order": Choice(tuple(ORDERS)),
    "step": Number(1e-5, 10.0),
    "power": Number(0.0, 1.0),
    "steps": Number(10, 100_000, whole=True),
    "at": Number(0.0, 1.0),
    "noise": Number(0.0, 2.0),
    "x": Number(-5.0, 5.0),
    "y": Number(-5.0, 5.0),
}
"""Every field of a state: what it holds, in the address and anywhere."""


@dataclass(frozen=True)
class State:
    r"""What a page shows, and its address says: a run and what it is held against.

    Step sizes are $\eta_t=$ `step` $(t+2)^{-a}$ with $a=$ `power`; `batch` 0 stands for
    all samples, `at` for the place of the time slider, from 0, the first record, to 1,
    the last. Fields that a view does not need are carried along.

    >>> state = State(rule="gd", batch=1)
    >>> state.query()
    'rule=gd&batch=1'
    >>> State.from_query("rule=gd&batch=1") == state
    True

    Args:
        view: `features`, `weights` or `landscape`.
        points: Samples of two features `(x, y, label)`, labels 1 and -1.
        bias: Append a feature that is 1.
        data: Of the view of weights: `rademacher`, `centres`, `digits`, or `given`.
        landscape: `ellipse`, `valley` or `pair`.
        loss: The name of a loss.
        rule: The name of an optimizer.
        b1: $\beta_1$, or the decay of a momentum.
        b2: $\beta_2$.
        eps: $\varepsilon$, outside the root.
        polar: How Muon finds its polar factor.
        batch: Samples a step, 0 for all.
        order: `cyclic`, `shuffled` or `replacement`.
        step: The scale of the step sizes.
        power: Their exponent $a$.
        steps: Updates.
        at: Where along the run.
        noise: $\delta$, the deviation of the label noise on a landscape.
        x: The first weight at the start of a landscape.
        y: The second; of the pair the third.

    Raises:
        ValueError: If a field is out of its bounds.
    """

    view: str = "features"
    points: tuple[Point, ...] = CORNERS
    bias: bool = False
    data: str = "rademacher"
    landscape: str = "ellipse"
    loss: str = "exponential"
    rule: str = "adam"
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 0.0
    polar: str = "exact"
    batch: int = 0
    order: str = "cyclic"
    step: float = 0.1
    power: float = 0.5
    steps: int = 3000
    at: float = 1.0
    noise: float = 0.5
    x: float = -0.2
    y: float = 1.2

    def __post_init__(self):
        for name, kind in KINDS.items():
            value = getattr(self, name)
            if not kind.holds(value):
                raise ValueError(
                    f"{name} must be {kind.wanted}; got {_shortened(repr(value))}."
                )
        if self.rule not in RULES[self.view]:
            raise ValueError(
                f"rule must be one of {', '.join(RULES[self.view])} with view "
                f"{self.view}; got {self.rule!r}."
            )

    def but(self, **changes: Any) -> "State":
        """The same with some fields changed."""
        return dataclasses.replace(self, **changes)

    def query(self) -> str:
        """The part of an address after its question mark: what is not as by default."""
        plain = State()
        return urlencode({
            name: _written(getattr(self, name))
            for name in KINDS
            if getattr(self, name) != getattr(plain, name)
        })

    @classmethod
    def from_query(cls, query: str) -> "State":
        """The state that such a part says.

        Raises:
            TypeError: If it is no text.
            ValueError: In a sentence, if it is too long, has a field that there is
                not, or a value that can't be.
        """
        if not isinstance(query, str):
            raise TypeError(
                f"query must be text; got {query!r:.100} of type "
                f"{type(query).__name__}."
            )
        if len(query) > LONGEST:
            raise ValueError(
                f"The address must have at most {LONGEST} characters after its "
                f"question mark; got {len(query)}."
            )
        pairs = parse_qsl(query.lstrip("?"), keep_blank_values=True)
        return cls(**{name: _read(name, text) for name, text in pairs})

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the rule, by the names that `optimizers.read` takes."""
        _, takes = optimizers.OPTIMIZERS[self.rule]
        given = {
            "b1": self.b1,
            "b2": self.b2,
            "eps": self.eps,
            "momentum": self.b1,
            "polar": self.polar,
        }
        plain = self.rule == "gd"  # whose momentum is another rule here
        return {} if plain else {o: v for o, v in given.items() if o in takes}

    @property
    def optimizer(self) -> optimizers.AbstractOptimizer:
        """The rule."""
        options = dict(self.options)
        if "polar" in options:
            options["polar"] = optimizers.read_polar(options["polar"])
        return optimizers.read(self.rule, **options)


def _read(name: str, text: str) -> Any:
    kind = look_up("part of the address", name, KINDS)
    try:
        return kind.read(text)
    except (ValueError, KeyError):
        raise ValueError(
            f"{name} must be {kind.wanted}; the address has {_shortened(text)!r}."
        ) from None


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return "~".join("_".join(map(_written, point)) for point in value)
    return f"{value:g}" if value == float(f"{value:g}") else repr(value)


def _shortened(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= 40 else shown[:39] + "…"
