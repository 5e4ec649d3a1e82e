"""A progress bar with rate, log-loss and time left; silent unless asked for."""

import contextlib
from collections.abc import Callable, Iterator

Report = Callable[[int, float], None]


@contextlib.contextmanager
def progress_bar(shown: bool, steps: int, done: int, what: str) -> Iterator[Report]:
    """Yield a function that is told the steps done and the log-loss there."""
    if not shown:
        yield lambda step, log_loss: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed or 0.0
            return Text(f"{speed:,.0f} steps/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        Rate(),
        TextColumn("log-loss {task.fields[log_loss]:.4g}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(what, total=steps, completed=done, log_loss=float("nan"))
        yield lambda step, log_loss: bar.update(task, completed=step, log_loss=log_loss)
