"""A probe of Hugging Face's Trainer: a callback about `penchant.torch.watch`."""

from typing import Any

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "penchant.huggingface needs transformers: pip install 'penchant[huggingface]'."
    ) from error

from penchant._types import Tree
from penchant.integrations.torch._host import Host


class Probe(Host, TrainerCallback):
    """A callback that watches `Trainer.train`.

    It hooks the optimizer inside accelerate's. The probe set is of the training
    loader's data unless `batches` says otherwise; the loss is the model's own, from
    batches with labels. Only the first process of several is probed. When training has
    ended `says` is the [`Reading`][penchant.diagnosis.Reading]; while it runs `watch`
    is the [`Watch`][penchant.torch.Watch].

        with pn.huggingface.Probe(folder="probe") as probe:
            Trainer(model, args, callbacks=[probe], …).train()
        probe.says

    The trainer tells callbacks nothing of an exception: as a context the probe is
    finished then too. Without one, `penchant probe` reads the folder all the same.

    Args:
        loss: `loss(model, batch)`, the mean over examples; None: `model(**batch).loss`.
        batches: Where the probe set is from; None: the training loader.
        writer: A logger that is handed every record.
        **options: As of [`watch`][penchant.torch.watch].

    Raises:
        TypeError: If `watch` has no such argument, or `writer` can't be written to.
        ValueError: When training begins, if the trainer smooths labels and no `loss`
            is given.
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

    def on_train_begin(
        self, args: Any, state: Tree, control: Any, **kwargs: Any
    ) -> None:
        """Hook the optimizer."""
        if not state.is_world_process_zero:
            return
        if self.loss is None and args.label_smoothing_factor:
            raise ValueError(
                "loss must be given where the trainer smooths labels, since the "
                "model's own is not what is trained on; got None."
            )
        self.begin(
            kwargs["model"],
            [unwrapped(kwargs["optimizer"])],
            self.loss or own_loss,
            batches=kwargs["train_dataloader"],
            total_steps=state.max_steps if state.max_steps > 0 else None,
            first_step=state.global_step,
        )

    def on_train_end(self, args: Any, state: Tree, control: Any, **kwargs: Any) -> None:
        """Finish."""
        self.end()


def own_loss(model: Any, batch: Tree) -> Any:
    """The loss that a model of transformers computes from a batch with labels.

    Raises:
        ValueError: If it computes none.
    """
    value = model(**batch).loss
    if value is None:
        raise ValueError(
            'loss must be given where batches have no "labels": the model has no loss '
            "of its own then."
        )
    return value


def unwrapped(optimizer: Any) -> Any:
    """The optimizer of torch inside accelerate's: its hooks are the ones that run."""
    # by name: accelerate need not be there where a model is trained by other means
    while type(optimizer).__name__ == "AcceleratedOptimizer":
        optimizer = optimizer.optimizer
    return optimizer
