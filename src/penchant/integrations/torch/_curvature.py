"""The curvature tier: one optimizer's read-outs on the probe set."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant import estimators, measures
from penchant.flows import memory_coefficient
from penchant.integrations._numbers import (
    first_vector,
    intervention_of,
    noise_of,
    of_term,
    past_of,
)
from penchant.integrations._plan import (
    COLD,
    LAGS,
    MORE,
    MOST,
    THIN,
    WARM,
    Costs,
)
from penchant.integrations._rules import Seen, number
from penchant.integrations.torch._batches import ProbeSet, count
from penchant.integrations.torch._draws import DRAWS, diagonals
from penchant.integrations.torch._isolated import isolated
from penchant.integrations.torch._margins import margins
from penchant.integrations.torch._outputs import Logits
from penchant.integrations.torch._products import Hessian, Top, flat, largest
from penchant.integrations.torch._replay import Replay
from penchant.integrations.torch._state import Side

Loss = Callable[[torch.nn.Module, Any], Tensor]
Values = dict[str, Any]

FRESH = 4
"""Batches whose gradients are looked at again later."""

BLOCKS, MASKS = 8, 48
"""Masks whose gradients are compared with those without, and blocks of them."""

BatchNorm = torch.nn.modules.batchnorm._BatchNorm

SIGNS = 6
"""Random signs for the trace of the Hessian."""


@dataclasses.dataclass
class Stale:
    """Gradients of some batches as they were after step `step`."""

    step: int
    gradients: list[Tensor]


class Curvature:
    """Read-outs by name; each gives records of the whole and of each group.

    Args:
        side: The optimizer and its parameters.
        model: The user's model.
        loss: Mean loss of a batch.
        logits: Outputs and labels; None where they can't be had.
        probe: The probe set.
        mode: "eval" or "train".
        key: Of label draws and first vectors.
    """

    def __init__(
        self,
        side: Side,
        model: torch.nn.Module,
        loss: Loss,
        logits: Logits | None,
        probe: ProbeSet,
        mode: str,
        key: int,
    ):
        self.side, self.model, self.loss, self.logits = side, model, loss, logits
        self.probe, self.mode, self.key = probe, mode, key
        self.warm: dict[str, Tensor] = {}
        self.stale: Stale | None = None
        self.products = WARM
        # seconds: a look at the kept batches, a product, sharpness along batches
        self.look = self.product = self.batches = 0.0
        self._lanczos = 0.0
        self.replay = Replay(side)
        self._hessian: Hessian | None = None
        self._bare = model
        self._done = 0

    def forget(self) -> None:
        """Let go of the graphs, as at the end of a probe."""
        self._hessian = None
        self._done += 1

    def isolated(self) -> Any:
        """Where read-outs run."""
        return isolated(self.model, self.mode, self.key)

    # read-outs: each is called within `isolated`

    def sharpness(self, bare: torch.nn.Module) -> list[tuple[str | None, Values]]:
        """Traces: tr G and tr Diag(G)^½ of all, and of each group."""
        if self.logits is None:
            raise LookupError("logits are needed: labels are drawn from them")
        logits = self.logits
        generator = torch.Generator().manual_seed(self.key + 1 + self._done)
        k = len(self.probe.parts)
        draws = DRAWS if k >= FRESH else max(DRAWS, 8 // k)
        parts = self.probe.parts
        if k == 1:  # one part: its draws are the independent ones
            parts, draws = parts * 8, 1
        rows, sums, scale = diagonals(
            lambda part: logits(bare, part),
            parts,
            self.side.parameters,
            generator,
            draws,
        )
        found: list[tuple[str | None, Values]] = []
        error = float(np.std(sums, ddof=1)) / math.sqrt(len(sums))
        root = measures.root_trace(rows, draws, scale)
        found.append((
            None,
            {
                "trace": [float(np.mean(sums)), error],
                "root_trace": [root.value, root.error],
            },
        ))
        if scale == 1.0 and len(self.side.groups) > 1:
            for name, at in self._places().items():
                own = measures.root_trace(rows[:, at], draws)
                totals = rows[:, at].sum(axis=1)
                error = float(np.std(totals, ddof=1)) / math.sqrt(len(totals))
                found.append((
                    name,
                    {
                        "trace": [float(np.mean(totals)), error],
                        "root_trace": [own.value, own.error],
                    },
                ))
        return found

    def hessian_trace(self, bare: torch.nn.Module) -> list[tuple[str | None, Values]]:
        """Trace of H by random signs."""
        H = self._graphs(bare)
        generator = torch.Generator().manual_seed(self.key + 7 + self._done)
        seen = []
        for _ in range(SIGNS):
            v = torch.randint(2, (H.gradient.numel(),), generator=generator) * 2 - 1
            v = v.to(H.gradient)
            seen.append(float(torch.dot(v, H(v))))
        error = float(np.std(seen, ddof=1)) / math.sqrt(SIGNS)
        return [(None, {"hessian_trace": [float(np.mean(seen)), error]})]

    def edge(self, bare: torch.nn.Module) -> list[tuple[str | None, Values]]:
        r"""$\lambda_1$ in the rule's own geometry, in a bracket; its threshold."""
        H = self._graphs(bare)
        values: Values = {}
        scale, threshold, why = self._geometry()
        start = torch.as_tensor(first_vector(H.gradient.numel(), self.key))
        start = start.to(H.gradient)

        def top(name: str, scale: Tensor | None, parts: Sequence[int] | None) -> Top:
            def product(v: Tensor) -> Tensor:
                u = H(v if scale is None else scale * v, parts)
                return u if scale is None else scale * u

            old = self.warm.get(name)
            first = start if old is None else old
            if scale is not None:
                first = first * (scale > 0)
            if not bool(first.any()):
                raise ValueError("no coordinate has a second moment above 0")
            begun = time.perf_counter()
            # a thin plan ends by the residual, and at what it was promised at most
            thin = self.products < WARM
            if old is None:
                least, most = (self.products, THIN) if thin else (COLD, COLD)
            else:
                least = self.products
                most = (MORE if thin else MOST) * least
            found = largest(product, first, least, most)
            gone = time.perf_counter() - begun
            share = 1.0 if parts is None else len(parts) / H.count
            self.product = gone / found.products / share
            self._lanczos += gone
            self.warm[name] = found.vector
            return found

        if threshold is not None:
            values["threshold"] = threshold
        else:
            values["threshold_why"] = why
        if scale is None and self.side.adapter.adaptive:
            raw = top("hessian", None, None)  # another quantity than the later ones
            values["largest_hessian"] = [raw.value, raw.residual]
            begun = time.perf_counter()
            self._along_batches(bare, None, 1)  # for the plan: another quantity too
            self.batches = (time.perf_counter() - begun) * len(self.probe.training)
            return [(None, values)]
        values["largest"] = self._bracket(H, scale, top)
        if self.side.adapter.adaptive:
            raw = top("hessian", None, None)
            values["largest_hessian"] = [raw.value, raw.residual]
        begun = time.perf_counter()
        values["batch_sharpness"] = self._along_batches(bare, scale)
        self.batches = time.perf_counter() - begun
        return [(None, values)]

    def _bracket(
        self, H: Hessian, scale: Tensor | None, top: Callable[..., Top]
    ) -> Values:
        quotient = lambda v, i: float(
            torch.dot(v, H.part(i, v)) if scale is None
            else torch.dot(scale * v, H.part(i, scale * v))
        )  # fmt: skip
        whole = top("all", scale, None)
        k = H.count
        each = [quotient(whole.vector, i) for i in range(k)] if k > 1 else []
        across: list[float] = []
        if k >= 4:
            halves = list(range(k // 2)), list(range(k // 2, k))
            for mine, others in (halves, halves[::-1]):
                own = top(f"half {mine[0]}", scale, mine)
                across += [quotient(own.vector, i) for i in others]
        if across:
            found = measures.bracket(across, each, whole.residual, whole.value)
        else:
            found = measures.bracket([], [whole.value], whole.residual, whole.value)
        return {"lower": found.lower, "upper": found.upper}

    def _along_batches(
        self, bare: torch.nn.Module, scale: Tensor | None, most: int | None = None
    ) -> list[float]:
        r"""$g^\top H_Bg/g^\top g$ of batches of the run's size; in $P$ with one."""
        seen = []
        for batch in self.probe.training[:most]:
            H = Hessian(lambda b: self.loss(bare, b), [batch], self.side.parameters)
            g = H.gradient
            if scale is None:
                v, below = g, float(torch.dot(g, g))
            else:  # u = P^-1/2 g; u' P^-1/2 H P^-1/2 u over u'u
                u = scale * g
                v, below = scale * u, float(torch.dot(u, u))
            if below > 0:
                seen.append(float(torch.dot(v, H(v))) / below)
        if not seen:
            return [math.nan, math.nan]
        spread = float(np.std(seen, ddof=1)) if len(seen) > 1 else math.nan
        return [float(np.mean(seen)), spread / math.sqrt(len(seen))]

    @property
    def batch_seconds(self) -> float:
        """Of sharpness along batches; by that of gradients before it is measured."""
        # a Hessian and a product with it take some four gradients, as FRESH are
        return self.batches or len(self.probe.training) * self.look

    def costs(self, seconds: Mapping[str, float], told: bool) -> Costs:
        """What probes will take, from what each read-out of the first took.

        `told` is whether they have the edge, also where the first did without.
        """
        adaptive = self.side.adapter.adaptive
        names = (["hessian"] if adaptive else []) + ["all"]
        halved = len(self.probe.parts) >= 4
        if halved:
            names += ["half 0", f"half {len(self.probe.parts) // 2}"]
        # two halves are a whole one
        size = lambda name: 0.5 if name.startswith("half") else 1.0
        tops = round(sum(map(size, names))) if told else 0
        colds = round(sum(size(n) for n in names if n not in self.warm))
        fixed = (1 + len(LAGS)) * self.look
        own = seconds.get("edge", 0.0) - self._lanczos - self.batches
        light = sum(s for name, s in seconds.items() if name != "edge")
        return Costs(
            light=light,
            fixed=fixed,
            edge=max(own, 0.0),
            batches=self.batch_seconds if told else 0.0,
            product=self.product,
            tops=tops,
            colds=colds if told else 0,
        )

    def memory(self, bare: torch.nn.Module) -> list[tuple[str | None, Values]]:
        """Noise of a batch, validity of memory's corrections, fresh gradients."""
        H = self._graphs(bare)
        values: Values = self._noise(H)
        values |= self._corrections(H)
        values |= self._endpoint(H)
        if self.replay.whole:
            below, first = self._moments()
            if first is not None:
                step = first
                if below is not None:
                    step = torch.where(below > 0, first / below.clamp_min(1e-38), 0.0)
                gradient = lambda batch: self._gradient(bare, batch)
                values |= self.replay.read(gradient, H, first, step)
        begun = time.perf_counter()
        kept = [self._gradient(bare, b) for b in self.probe.training[:FRESH]]
        self.look = time.perf_counter() - begun
        self.stale = Stale(self.side.step, kept)
        return [(None, values)]

    def staleness(self, bare: torch.nn.Module) -> tuple[int, list[float]]:
        """The lag since gradients were kept, and how much they have moved."""
        assert self.stale is not None
        ratios = []
        batches = self.probe.training[: len(self.stale.gradients)]
        for batch, old in zip(batches, self.stale.gradients, strict=True):
            new = self._gradient(bare, batch)
            size = float(torch.linalg.vector_norm(old))
            if size > 0:
                ratios.append(float(torch.linalg.vector_norm(new - old)) / size)
        lag = self.side.step - self.stale.step
        if not ratios:
            return lag, [math.nan, math.nan]
        spread = float(np.std(ratios, ddof=1)) if len(ratios) > 1 else math.nan
        return lag, [float(np.mean(ratios)), spread / math.sqrt(len(ratios))]

    def intervention(self, bare: torch.nn.Module) -> list[tuple[str | None, Values]]:
        """What the model's own masks add to the gradient, over blocks of masks."""
        H = self._graphs(bare)
        modes = [(module, module.training) for module in bare.modules()]
        weights = flat([p.detach() for p in self.side.parameters])
        blocks = [torch.zeros_like(weights) for _ in range(BLOCKS)]
        try:
            for module, _ in modes:  # statistics of batches stay as they are
                module.training = not isinstance(module, BatchNorm)
            for draw in range(MASKS):
                i = draw % H.count
                seed = self.key + 1000 * (self._done + 1) + draw
                torch.default_generator.manual_seed(seed)
                if torch.cuda.is_available():
                    torch.cuda.manual_seed_all(seed)
                g = self._gradient(bare, self.probe.parts[i])
                blocks[draw * BLOCKS // MASKS] += g - H.gradients[i]
        finally:
            for module, mode in modes:
                module.training = mode
        if not any(bool(block.any()) for block in blocks):
            raise LookupError("the model has no masks: its gradient is the same")
        rows = [block * (BLOCKS / MASKS) for block in blocks]
        G = torch.stack([*rows, weights, H.gradient]).double().cpu()
        return [(None, intervention_of((G @ G.T).numpy().astype(float)))]

    def margins(self, bare: torch.nn.Module) -> list[tuple[str | None, Values]]:
        """Margins of the probe set, norms of the weights, and the degree."""
        if self.logits is None:
            raise LookupError("logits are needed: margins are differences of them")
        return [
            (None, margins(bare, self.logits, self.probe.parts, self.side.parameters))
        ]

    # parts of them

    def _graphs(self, bare: torch.nn.Module) -> Hessian:
        if self._hessian is None:
            self._hessian = Hessian(
                lambda part: self.loss(bare, part),
                self.probe.parts,
                self.side.parameters,
            )
        return self._hessian

    def losses(self, bare: torch.nn.Module) -> list[float]:
        """The loss of the probe set, with its error over parts."""
        if self._hessian is not None:
            x = self._hessian.losses
        else:
            with torch.no_grad():
                x = [float(self.loss(bare, part)) for part in self.probe.parts]
        error = float(np.std(x, ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else math.nan
        return [float(np.mean(x)), error]

    def _gradient(self, bare: torch.nn.Module, batch: Any) -> Tensor:
        grads = torch.autograd.grad(
            self.loss(bare, batch), self.side.parameters, allow_unused=True
        )
        return flat([
            torch.zeros_like(p) if g is None else g
            for g, p in zip(grads, self.side.parameters, strict=True)
        ])

    def _noise(self, H: Hessian) -> Values:
        r"""$\operatorname{tr}\operatorname{Cov}(g_B)/\|g\|^2$ at the run's size."""
        k = H.count
        if k < 2:
            return {}
        G = torch.stack(H.gradients).double() if H.gradient.device.type != "mps" else (
            torch.stack(H.gradients)
        )  # fmt: skip
        gram = (G @ G.T).cpu().numpy().astype(float)
        run = count(self.probe.training[0]) if self.probe.training else 0
        part = self.probe.examples / k
        factor = part / run if run else 1.0

        return noise_of(gram, factor)

    def _corrections(self, H: Hessian) -> Values:
        row, n = self.side.adapter, self.side.step
        entry = self.side.group_of(self.side.groups[0])
        if row.signs:
            return {"memory_why": "the step is a sign, whose derivative is 0"}
        if "lr" not in entry or number(entry["lr"]) <= 0:
            return {}
        lr, (b1, b2) = number(entry["lr"]), row.decays(entry)
        past = past_of(self.side.rates, n, max(b1, b2 or 0.0))
        g, eps = H.gradient, row.eps_of(entry)
        if eps is not None and b2 is not None and (row.mean or b1 == 0.0):
            return self._divided(H, eps, lr, (b1, b2), past)
        if not row.curved or row.adaptive:
            return {}
        u = self._times(H, g)
        # steps of a full memory are g / (1 - b), and it looks b / (1 - b) steps back
        gain = 1.0 if row.mean else 1.0 - number(entry.get("dampening", 0.0))
        longer = gain if row.mean else gain / (1.0 - b1)
        reach, walked = lr * longer, None if past is None else longer * past
        first = estimators.first_memory(
            float(torch.linalg.vector_norm(g)),
            float(torch.linalg.vector_norm(u)),
            step_size=reach,
            decay=b1,
            n=n,
            past=walked,
        )
        at = self._sample(g)
        path = (
            0.5 * reach * (memory_coefficient(b1, n) - 1.0)
            if walked is None
            else estimators.path_since(b1, walked)
        )
        term = estimators.memory_term(
            _host(g, at), -(path + 0.5 * reach) * _host(u, at), _host(u, at)
        )
        return {**of_term(term), "validity_first": first}

    def _times(self, H: Hessian, v: Tensor) -> Tensor:
        """A product whose time is kept, for the plan."""
        begun = time.perf_counter()
        u = H(v)
        float(u[0])  # it is there, on a device too
        self.product = time.perf_counter() - begun
        return u

    def _divided(
        self,
        H: Hessian,
        divides: tuple[float, bool],
        lr: float,
        decays: tuple[float, float],
        past: np.ndarray | None,
    ) -> Values:
        g, n, (eps, inside) = H.gradient, self.side.step, divides
        below = torch.sqrt(g**2 + eps) if inside else g.abs() + eps
        F = torch.where(below > 0, g / below, 0.0)
        at = self._sample(g)
        term = estimators.adaptive_memory(
            _host(g, at),
            _host(self._times(H, F), at),
            eps,
            step_size=lr,
            decays=decays,
            step=n,
            eps_inside=inside,
            past=past,
        )
        values = of_term(term)
        below, firsts = self._moments()
        if below is not None and firsts is not None:
            own = torch.where(below > 0, firsts / below.clamp_min(1e-38), 0.0)
            values["validity_first"] = estimators.first_memory(
                float(torch.linalg.vector_norm(firsts)),
                float(torch.linalg.vector_norm(H(own))),
                step_size=lr,
                decay=decays[0],
                n=n,
                past=past,
            )
        return values

    def _endpoint(self, H: Hessian) -> Values:
        r"""The ridge that $-g=\lambda\theta$ would have, and what it leaves of $g$."""
        g = H.gradient.double()
        w = flat([p.detach() for p in self.side.parameters]).double()
        square, size = float(w @ w), float(torch.linalg.vector_norm(g))
        if square == 0.0 or size == 0.0:
            return {}
        ridge = -float(g @ w) / square
        rest = float(torch.linalg.vector_norm(g + ridge * w))
        return {"gap": rest / size, "endpoint_ridge": [ridge, rest / math.sqrt(square)]}

    def _geometry(self) -> tuple[Tensor | None, float | None, str]:
        r"""$P^{-1/2}$, the threshold there, and why there is none."""
        row, side = self.side.adapter, self.side
        entries = [side.group_of(g) for g in side.groups]
        rates = [number(e["lr"]) for e in entries]
        top = max(rates)
        scales: Tensor | None = None
        if row.adaptive:
            b1, _ = row.decays(entries[0])
            if side.step < 1.0 / (1.0 - b1):
                return None, None, "the first moment has not filled yet"
            below, _ = self._moments()
            if below is None:
                return None, None, "the optimizer keeps no full second moment"
            # coordinates that never had a gradient would dominate by 1/ε
            scales = torch.where(below > 0, below.clamp_min(1e-38).rsqrt(), 0.0)
        if len({row.decays(e) for e in entries}) > 1:
            return scales, None, "groups differ in their decays"
        if top <= 0:
            return scales, None, "the step size is 0"
        if len(set(rates)) > 1:
            # steps of several sizes: measured in those of the largest
            share = self._spread([math.sqrt(r / top) for r in rates])
            scales = share if scales is None else scales * share
        threshold = row.threshold({**entries[0], "lr": top}, side.step)
        why = "" if threshold is not None else "no threshold is known for this rule"
        return scales, threshold, why

    def _moments(self) -> tuple[Tensor | None, Tensor | None]:
        r"""All divisors and $\hat m$, flat; None where the optimizer keeps none."""
        row, side = self.side.adapter, self.side
        wanted = [k for k in (row.first, row.second, *row.keys) if k is not None]
        of: dict[int, tuple[Any, Any]] = {}
        for group in side.groups:
            for watched in group.tensors:
                p = watched.tensor
                state = side.optimizer.state.get(p, {})
                kept = {
                    k: state[k].detach().double().cpu().numpy()
                    for k in wanted
                    if isinstance(state.get(k), Tensor) and state[k].shape == p.shape
                }
                zero = np.zeros(())
                if state and row.second is not None and row.second not in kept:
                    return None, None  # a factored one
                if not kept:
                    of[id(p)] = (None, None)
                    continue
                seen = Seen(
                    group=side.group_of(group),
                    before=zero,
                    after=zero,
                    gradient=zero,
                    past={},
                    state=kept,
                    scalars={k: number(state[k]) for k in row.scalars if k in state},
                    n=number(state["step"]) if "step" in state else float(side.step),
                )
                found = row.moments(seen)
                of[id(p)] = (found.divisor, found.first)
        parameters = side.parameters

        def join(place: int) -> Tensor | None:
            if all(of[id(p)][place] is None for p in parameters):
                return None
            arrays = []
            for p in parameters:
                x = of[id(p)][place]
                # a parameter that never had a gradient has no state: it is left out
                arrays.append(np.zeros(p.numel()) if x is None else np.ravel(x))
            joined = torch.as_tensor(np.concatenate(arrays))
            return joined.to(device=parameters[0].device, dtype=parameters[0].dtype)

        return join(0), join(1)

    def _places(self) -> dict[str, np.ndarray]:
        """Coordinates of each group in the flat vector."""
        starts, at = {}, 0
        for p in self.side.parameters:
            starts[id(p)] = at
            at += p.numel()
        return {
            group.name: np.concatenate([
                np.arange(starts[id(t.tensor)], starts[id(t.tensor)] + t.tensor.numel())
                for t in group.tensors
            ])
            for group in self.side.groups
        }

    def _spread(self, values: Sequence[float]) -> Tensor:
        """One number a group as a flat vector."""
        of = {
            id(t.tensor): x
            for group, x in zip(self.side.groups, values, strict=True)
            for t in group.tensors
        }
        return torch.cat([
            torch.full((p.numel(),), of[id(p)], device=p.device, dtype=p.dtype)
            for p in self.side.parameters
        ])

    def _sample(self, like: Tensor) -> Tensor:
        """The state tier's coordinates, in the flat vector."""
        starts, at = [], 0
        index = {id(t.tensor): t.index for g in self.side.groups for t in g.tensors}
        for p in self.side.parameters:
            starts.append(index[id(p)].to(like.device) + at)
            at += p.numel()
        return torch.cat(starts)


def _host(x: Tensor, at: Tensor) -> np.ndarray:
    return x[at].double().cpu().numpy()
