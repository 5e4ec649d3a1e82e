"""What a probe of PyTorch costs: a small CNN and a character transformer, watched.

Shares are of the run's own time, by the process's clock within the probe's hooks.
Beside them stands the process's time of a run with the probe over that of one without
it, the two in turns of 50 steps: it has all that hooks do not see, and on a machine
that others use it is good to some hundredths.
"""

import dataclasses
import inspect
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import penchant as pn
from benchmarks._report import Row

STATE, SLACK = 0.01, 1.2
"""Shares asked: of looks at the state, and of all over the overhead given."""

TURN = 50
"""Steps with the probe, then so many without."""

REASONS: dict[str, str] = {}

Loop = tuple[nn.Module, Callable[[nn.Module, Any], torch.Tensor], list[Any]]


def rows(quick: bool) -> Iterator[Row]:
    torch.set_num_threads(1)
    steps = 300 if quick else 3000
    for name, make in (("CNN", cnn), ("transformer", transformer)):
        for overhead in (0.05, 0.2):
            found = shares(make, steps, overhead)
            told = f"with over without {found.ratio:.3f}; {found.plan}"
            all_of = found.state + found.curvature
            if overhead == 0.05:
                yield asked(name, "state tier", steps, found, found.state, STATE)
            part = f"all, overhead {overhead:g}"
            yield asked(name, part, steps, found, all_of, SLACK * overhead, told)


@dataclasses.dataclass(frozen=True)
class Shares:
    """Of the run's own process time; `ratio` is that with the probe over without."""

    state: float
    curvature: float
    own: float
    ratio: float
    plan: str


def asked(
    name: str,
    part: str,
    steps: int,
    found: Shares,
    share: float,
    most: float,
    told: str = "",
) -> Row:
    return Row(
        f"probe of a {name}: {part}",
        f"probe of a {name}, {steps:,} steps of AdamW: {part}",
        "the loop without it",
        f"{found.own / steps * 1e3:.3g} ms a step",
        f"{share:.2%} of it",
        most / max(share, 1e-9),
        1.0,
        remark=f"at most {most:.0%} is asked" + (f"; {told}" if told else ""),
    )


def shares(make: Callable[[], Loop], steps: int, overhead: float) -> Shares:
    """Process time in hooks, over the loop's own; and of a loop without, in turns."""
    clock, gone = time.perf_counter, [0.0, 0.0]
    # the hooks' own clock, for this run: it stands still in the other one's turns
    time.perf_counter = lambda: time.process_time() - gone[1]
    try:
        return _shares(make, steps, overhead, gone)
    finally:
        time.perf_counter = clock


def _shares(
    make: Callable[[], Loop], steps: int, overhead: float, gone: list[float]
) -> Shares:
    loops = []
    for _ in range(2):
        torch.manual_seed(0)
        model, loss, batches = make()
        rule = torch.optim.AdamW(model.parameters(), lr=1e-3)
        loops.append((model, loss, batches, rule))
    model, loss, batches, rule = loops[0]
    watch = pn.torch.watch(
        model, rule, loss=loss, batches=batches, total_steps=steps, overhead=overhead
    )
    for start in range(0, steps, TURN):
        for side, (model, loss, batches, rule) in enumerate(loops):
            begun = time.process_time()
            for i in range(start, min(start + TURN, steps)):
                rule.zero_grad()
                loss(model, batches[i % len(batches)]).backward()
                rule.step()
            gone[side] += time.process_time() - begun
    spent, plan = watch.spent, watch.plan
    own = gone[0] - sum(spent.values())
    state, curvature = spent["state"] / own, spent["curvature"] / own
    ratio = gone[0] / gone[1]
    told = f"foretold {plan.share:.1%} of curvature, at {len(plan.steps)} steps"
    return Shares(state, curvature, own, ratio, f"{told} ({plan.why})")


def cnn() -> Loop:
    """Some 30 000 weights on images of 16 x 16, 64 a batch."""
    X, y = load_digits(return_X_y=True)
    images = torch.tensor(X / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    images = nn.functional.interpolate(images, scale_factor=2.0)
    labels = torch.tensor(y)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    order = torch.randperm(len(labels))
    batches = [(images[i], labels[i]) for i in order.split(64)[:-1]]
    return model, lambda m, b: cross_entropy(m(b[0]), b[1]), batches


class Block(nn.Module):
    """One layer with the fused attention kernel."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, w = x.shape
        parts = self.mix(self.before(x)).reshape(b, t, 3, self.heads, w // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(h.transpose(1, 2).reshape(b, t, w))
        return x + self.wide(self.after(x))


def transformer() -> Loop:
    """Two layers of width 64 on the letters of a module, 16 lines of 64 a batch."""
    text = inspect.getsource(textwrap).encode()
    code = torch.tensor([c % 96 for c in text])
    model = nn.Sequential(
        nn.Embedding(96, 64), Block(64, 4), Block(64, 4), nn.Linear(64, 96)
    )
    starts = torch.randint(len(code) - 65, (40, 16))
    batches = [
        (
            torch.stack([code[i : i + 64] for i in row]),
            torch.stack([code[i + 1 : i + 65] for i in row]),
        )
        for row in starts
    ]
    loss = lambda m, b: cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten())
    return model, loss, batches
