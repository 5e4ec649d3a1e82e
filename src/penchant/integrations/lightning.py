"""A probe of a training run in Lightning: a callback about `penchant.torch.watch`."""

import contextlib
import functools
import importlib
import math
from typing import TYPE_CHECKING, Any

from penchant._types import Tree
from penchant.integrations.torch._host import Host

if TYPE_CHECKING:
    from pytorch_lightning import Callback
else:

    def _callback() -> type:
        """The base of callbacks, which two packages have, of one or the other."""
        for name in ("pytorch_lightning", "lightning.pytorch"):
            with contextlib.suppress(ImportError):
                return importlib.import_module(name).Callback
        raise ImportError(
            "penchant.lightning needs Lightning: pip install 'penchant[lightning]'."
        )

    Callback = _callback()


class Probe(Host, Callback):
    """A Lightning callback that watches `trainer.fit`.

    It hooks the optimizers inside, after clipping and unscaling, also where Lightning
    hands them the backward pass as a closure. The probe set is of the training loader's
    data unless `batches` says otherwise, and the loss is computed in the trainer's
    precision. Only the first process of several is probed. When the fit ends, also by
    an exception, `says` is the [`Reading`][penchant.diagnosis.Reading]; while it runs
    `watch` is the [`Watch`][penchant.torch.Watch].

        probe = pn.lightning.Probe(loss=lambda model, batch: …, folder="probe")
        Trainer(callbacks=[probe]).fit(model, loader)
        probe.says

    A checkpoint keeps the count of steps, so that a fit that goes on from one goes on
    in the same folder, whatever the optimizer.

    Args:
        loss: `loss(module, batch)`, the mean over examples; None: no curvature. What
            `training_step` returns logs besides, so it is not called.
        batches: Where the probe set is from; None: the training loader.
        writer: A logger that is handed every record.
        **options: As of [`watch`][penchant.torch.watch].

    Raises:
        TypeError: If `watch` has no such argument, or `writer` can't be written to.
    """

    def __init__(
        self,
        *,
        loss: Any = None,
        batches: Any = None,
        writer: object = None,
        **options: Any,
    ):
        Host.__init__(self, loss=loss, batches=batches, writer=writer, **options)
        self._count = self._loaded = 0

    # not on_fit_start: there a checkpoint's optimizer is not loaded yet

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Hook the optimizers."""
        if not trainer.is_global_zero:
            return
        total = trainer.estimated_stepping_batches
        self.begin(
            pl_module,
            trainer.optimizers,
            None if self.loss is None else functools.partial(self._loss, trainer),
            batches=trainer.train_dataloader,
            total_steps=int(total) if math.isfinite(total) and total > 0 else None,
            first_step=self._loaded,
        )
        self._loaded = 0

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Finish."""
        self._count = self._now
        self.end()

    def on_exception(
        self, trainer: Any, pl_module: Any, exception: BaseException
    ) -> None:
        """Finish a fit that failed or was interrupted."""
        self._count = self._now
        self.fail(exception)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the count of steps."""
        return {"step": self._now}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._loaded = self._count = int(state_dict["step"])

    @property
    def _now(self) -> int:
        return self._count if self.watch is None else self.watch.now

    def _loss(self, trainer: Any, module: Any, batch: Tree) -> Any:
        with trainer.precision_plugin.forward_context():
            return self.loss(module, batch)
