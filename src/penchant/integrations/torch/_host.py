"""What probes of trainers share: a trainer starts the watch and ends it."""

import inspect
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from penchant.diagnosis import Reading
from penchant.integrations._record import listener_of
from penchant.integrations.torch._watch import Watch, watch


class Host:
    """A probe in somebody's trainer.

    A context: with it an exception that the trainer tells nobody of ends the probe too.

    Args:
        loss: `loss(model, batch)`, as in [`watch`][penchant.torch.watch].
        batches: Where the probe set is from; None for the trainer's own loader.
        writer: A logger that is handed every record, as `Watch.to` takes it.
        **options: Further arguments of `watch`.

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
        inspect.signature(watch).bind(None, None, loss=loss, batches=batches, **options)
        if writer is not None:
            listener_of(writer)
        self.loss, self.batches, self.writer = loss, batches, writer
        self.options = options
        self.watch: Watch | None = None
        self.says: Reading | None = None

    def begin(
        self, model: Any, optimizers: Sequence[Any], loss: Any, **found: Any
    ) -> None:
        """Hook a run that begins; what the user gave goes before what was `found`."""
        self.end()
        told = {**found, **self.options}
        if self.batches is not None:
            told["batches"] = self.batches
        if told.get("probe_batches") is not None:
            told["batches"] = None
        self.watch = watch(model, list(optimizers), loss=loss, **told)
        if self.writer is not None:
            self.watch.to(self.writer)

    def end(self) -> None:
        """Finish; what was seen is `says`."""
        if self.watch is not None:
            self.says = self.watch.finish()
            self.watch = None

    def fail(self, error: BaseException) -> None:
        """Finish a run that an exception has ended, and leave the exception alone."""
        if self.watch is not None:
            self.watch.__exit__(type(error), error, error.__traceback__)
            self.says = self.watch.finished
            self.watch = None

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.end()
        else:
            self.fail(error)
