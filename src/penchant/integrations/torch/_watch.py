"""The door: three lines about a training loop of one's own."""

import importlib.metadata
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from penchant._checks import check_count, check_instance, check_number
from penchant.integrations._plan import DEFAULT, check_readouts
from penchant.integrations._record import Recorder
from penchant.integrations._rules import number
from penchant.integrations.torch._adapters import Grouped
from penchant.integrations.torch._curvature import Curvature
from penchant.integrations.torch._doors import Losses, curvatures, optimizers_of
from penchant.integrations.torch._hooks import Hooks
from penchant.integrations.torch._isolated import unwrapped
from penchant.integrations.torch._outputs import Logits
from penchant.integrations.torch._state import Side
from penchant.integrations.torch._steps import READOUTS, Steps, named
from penchant.optimizers import Character

Optimizers: TypeAlias = Grouped | Sequence[Grouped]


def watch(
    model: torch.nn.Module,
    optimizer: Optimizers,
    *,
    loss: Losses | None = None,
    batches: Iterable[Any] | None = None,
    logits: Logits | None = None,
    folder: str | Path | None = None,
    overhead: float = 0.05,
    readouts: Sequence[str] = DEFAULT,
    probe_size: int | None = None,
    probe_batches: Sequence[Any] | None = None,
    total_steps: int | None = None,
    mode: str = "eval",
    key: int = 0,
    snapshots: int = 0,
    first_step: int = 0,
    state_every: int | None = None,
    rule: Character | None = None,
) -> "Watch":
    """Watch a training run: what does its step do that nobody asked for?

    The loop stays as it is: hooks of the optimizer's step read a fixed sample of
    coordinates, and at few steps, within `overhead` of the run's time, curvature on a
    fixed probe set. Training is the same bit for bit, random numbers included. What is
    wrong with an argument raises here; what fails later is switched off, with one
    [`ProbeWarning`][penchant.torch.ProbeWarning], and never ends a training.

        watch = pn.torch.watch(model, optimizer, loss=f, batches=loader, folder="out")
        ...                                  # the loop
        says = watch.finish()                # a Reading, and out/report.html

    Args:
        model: The model; of a compiled one the module inside is probed.
        optimizer: Of `torch.optim`, or several. Each parameter group is a row of the
            report. An unknown rule has its steps measured.
        loss: `loss(model, batch)`, the mean over examples of the model it is handed; a
            mapping from optimizers where each has its own. Without it no curvature.
        batches: A `DataLoader`, whose dataset is read without its sampler, or an
            iterable of batches, which is read once, at the start.
        logits: `logits(model, batch) -> (logits, labels)`; labels below 0 are ignored.
            None: of `(x, y)` batches and of dictionaries with "labels" the model's own
            output, if its cross-entropy is the loss.
        folder: Where files lie; a folder with a run is gone on with. None: in memory.
        overhead: Share of the run's time that probes may take, looks at the state too.
        readouts: Which of state, sharpness, edge, memory, margins; and, where asked
            for, hessian_trace and intervention (what dropout adds to the gradient).
        probe_size: Examples of the probe set; None: 128 to 1024, by what they cost.
        probe_batches: The probe set itself, as batches.
        total_steps: Steps of the run, where known: then probes are spread over it.
        mode: "eval", or "train" with fixed masks.
        key: Of samples, draws and first vectors.
        snapshots: Every how many state records the weights are kept; 0 for never.
        first_step: Updates made before, of a run that goes on with an optimizer that
            does not count them itself (SGD).
        state_every: Steps between looks at the state. None: 20, or as many twenties as
            keep looks within 1 % of the time; `run.json` has what it came to.
        rule: What an optimizer without a row in the table is, as
            [`identify`][penchant.identify] measured it: thresholds and terms of memory
            are then those of its decays. Its moments stay unread.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of its range, an optimizer asks for a closure, or the
            loss is no number.
    """
    return Watch(
        model,
        optimizer,
        loss=loss,
        batches=batches,
        logits=logits,
        folder=folder,
        overhead=overhead,
        readouts=readouts,
        probe_size=probe_size,
        probe_batches=probe_batches,
        total_steps=total_steps,
        mode=mode,
        key=key,
        snapshots=snapshots,
        first_step=first_step,
        state_every=state_every,
        rule=rule,
    )


class Watch(Steps):
    """A run that is watched, as [`watch`][penchant.torch.watch] returns it.

    A context: at its end, also by an exception, it is finished.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Optimizers,
        *,
        loss: Losses | None,
        batches: Iterable[Any] | None,
        logits: Logits | None,
        folder: str | Path | None,
        overhead: float,
        readouts: Sequence[str],
        probe_size: int | None,
        probe_batches: Sequence[Any] | None,
        total_steps: int | None,
        mode: str,
        key: int,
        snapshots: int,
        first_step: int,
        state_every: int | None,
        rule: Character | None,
    ):
        check_instance("model", model, torch.nn.Module, "a torch.nn.Module")
        optimizers = optimizers_of(optimizer)
        check_number("overhead", overhead, above=0.0, most=10.0)
        wanted = check_readouts(readouts)
        if mode not in ("eval", "train"):
            raise ValueError(f"mode must be 'eval' or 'train'; got {mode!r}.")
        counts = {
            "probe_size": probe_size,
            "total_steps": total_steps,
            "state_every": state_every,
        }
        for name, count in counts.items():
            if count is not None:
                check_count(name, count)
        self.key = check_count("key", key, least=0)
        check_count("snapshots", snapshots, least=0)
        done = check_count("first_step", first_step, least=0)
        if snapshots and folder is None:
            raise ValueError("snapshots need a folder; got folder=None.")
        if rule is not None:
            check_instance("rule", rule, Character, "a Character, as identify gives")
        self.model = model
        names = {id(p): name for name, p in unwrapped(model).named_parameters()}
        taken: set[str] = set()
        sides = [Side(o, names, self.key, taken, rule) for o in optimizers]
        sides = [side for side in sides if side.groups]
        for side in sides:
            side.step = side.step or done
        if not sides:
            raise ValueError(
                "optimizer must train at least one parameter; it has none."
            )
        measured, missing = curvatures(
            model,
            sides,
            [name for name in READOUTS if name in wanted],
            loss=loss,
            batches=batches,
            logits=logits,
            given=probe_batches,
            size=probe_size,
            mode=mode,
            key=self.key,
        )
        about = _about(model, sides, measured) | {
            "readouts": list(wanted),
            "missing": missing,
            "mode": mode,
            "key": self.key,
            "overhead": float(overhead),
            "total_steps": total_steps,
        }
        super().__init__(
            sides,
            measured,
            readouts=wanted,
            missing=missing,
            recorder=Recorder(None if folder is None else Path(folder), about),
            overhead=float(overhead),
            total=total_steps,
            every=state_every,
            fixed=probe_size is not None or probe_batches is not None,
            snapshots=snapshots,
        )
        for side in self.sides:
            side.changes()
        self._hooks = [
            Hooks(side.optimizer, self._before(i), self._after(i))
            for i, side in enumerate(self.sides)
            if hasattr(side.optimizer, "register_step_post_hook")
        ]

    def batch(self, batch: object) -> None:
        r"""Hand over the batch of the step that comes next, before the step.

        With the batches of a whole memory (44 of $\beta_1=.9$, kept by reference)
        curvature steps compare the momentum with what it would be of gradients at the
        weights of now: `memory_moved`. It costs a gradient a batch there.

        Args:
            batch: As `loss` takes it; of several micro-batches each.
        """
        for curvature in self.curvatures:
            if curvature is not None:
                with self.guard("memory", self.now):
                    curvature.replay.keep(batch)

    def _leave(self, *, last: bool) -> None:
        for hooks in self._hooks:
            hooks.remove()
        self._hooks = []
        again, with_edge = self._last()
        if not (last and again and self.curvatures):
            return
        for i, side in enumerate(self.sides):
            if self._last_probe[i] != side.step and self.guard.on("curvature"):
                begun = time.perf_counter()
                with self.guard("curvature", side.step):
                    self.measure(i, with_edge=with_edge)
                self._took("curvature", time.perf_counter() - begun)


def shared(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Tensors that several groups step: tied weights in two optimizers, say."""
    owners: dict[tuple[int, int, int], list[tuple[str, str, float]]] = {}
    for side in sides:
        for group in side.groups:
            decay = number(side.group_of(group).get("weight_decay", 0.0))
            for watched in group.tensors:
                w = watched.tensor
                if w.numel():
                    place = w.untyped_storage().data_ptr(), int(w.storage_offset())
                    many = owners.setdefault((*place, w.numel()), [])
                    many.append((watched.name, group.name, decay))
    return [
        {
            "name": many[0][0],
            "groups": [group for _, group, _ in many],
            "decays": [decay for _, _, decay in many],
        }
        for many in owners.values()
        if len(many) > 1
    ]


def orphans(model: torch.nn.Module, sides: Sequence[Side]) -> list[str]:
    """Shapes of tensors that are stepped and that the model does not have."""
    own = {id(p) for p in unwrapped(model).parameters()}
    return [
        f"group {group.place}'s of shape {tuple(watched.tensor.shape)}"
        for side in sides
        for group in side.groups
        for watched in group.tensors
        if id(watched.tensor) not in own
    ]


def _about(
    model: torch.nn.Module,
    sides: Sequence[Side],
    measured: Sequence[Curvature | None],
) -> dict[str, Any]:
    """What `run.json` says of the model and of where it runs."""
    about: dict[str, Any] = {
        "penchant": importlib.metadata.version("penchant"),
        "framework": f"torch {torch.__version__}",
        "python": sys.version.split()[0],
        "device": str(sides[0].parameters[0].device),
        "model": type(unwrapped(model)).__name__,
        "parameters": sum(p.numel() for s in sides for p in s.parameters),
        "first_step": sides[0].step,
        "groups": [told for side in sides for told in side.formats()],
        "sides": [named(sides, i) for i in range(len(sides))],
        "shared": shared(sides),
        "orphans": orphans(model, sides),
    }
    of = next((c for c in measured if c is not None), None)
    if of is not None:
        about |= {
            "probe_hash": of.probe.digest,
            "probe_examples": of.probe.examples,
            "probe_parts": len(of.probe.parts),
        }
    return about
