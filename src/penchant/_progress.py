"""What is being done, for how long already and how long still, on stderr."""

import contextlib
import contextvars
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from penchant._checks import check_count

Report = Callable[[int, float], None]

LONG = 1.0
"""Seconds from which a stage is worth a line of its own when it is done."""

EVERY = 0.1
"""Share of the work between two lines where nothing can be drawn again."""


def is_shown(progress: object) -> bool:
    """What `progress` asks for; None: shown to somebody who can see it.

    That is a terminal, or a notebook; not a file, a pipe or a test.
    """
    return _watched() if progress is None else progress is True


def _watched() -> bool:
    stream = sys.stderr
    return bool(stream is not None and stream.isatty()) or _in_notebook()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    running = shell.get_ipython()
    return running is not None and "IPKernelApp" in getattr(running, "config", {})


class Stages:
    """Called with what is done next, says it on stderr with the seconds it takes.

    On a terminal the stage under way is one line with a clock; a stage that took a
    second leaves its line and its time. Elsewhere a line is printed as a stage begins,
    and its time where that was long. A context: at its end the last stage is over.

    >>> import penchant as pn
    >>> seen = []
    >>> with pn.training.Stages(seen.append) as stages:
    ...     stages("reading")
    >>> seen
    ['reading']

    Args:
        progress: True to show; None to show on a terminal or in a notebook only; False
            not to. A function is called with each stage instead.
    """

    def __init__(self, progress: object):
        self.listener = progress if callable(progress) else None
        self.shown = self.listener is None and is_shown(progress)
        self.text = ""
        self.begun = 0.0
        self.clock: Any = None

    def __call__(self, text: str) -> None:
        """A stage begins, and the one before is over."""
        self.close()
        self.text, self.begun = text, time.monotonic()
        if self.listener is not None:
            self.listener(text)
        elif self.shown:
            self._open()

    def part(self, number: int, total: int) -> None:
        """So many parts of the stage under way have begun, the last of them now."""
        told = f"{self.text}, {number} of {total}"
        if self.clock is not None:
            (task,) = self.clock.task_ids
            self.clock.update(task, description=f"[dim]{told}[/dim]")
        elif self.shown and number > 1:
            before, share = ((n - 1) / total for n in (number - 1, number))
            if int(share / EVERY + 1e-9) > int(before / EVERY + 1e-9):
                say(f"{told}, {duration(time.monotonic() - self.begun)}")

    def close(self) -> None:
        """The stage under way is over: what follows shows its own progress."""
        if self.clock is not None:
            self.clock.stop()
            self.clock = None
        taken = time.monotonic() - self.begun
        if self.shown and self.text and taken >= LONG:
            say(f"{self.text}: {duration(taken)}")
        self.text = ""

    def _open(self) -> None:
        console = _console()
        if not console.is_terminal:
            say(f"{self.text} …")
            return
        from rich.progress import Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description} …"), TimeElapsedColumn())
        self.clock = Progress(*columns, console=console, transient=True)
        self.clock.add_task(f"[dim]{self.text}[/dim]", total=None)
        self.clock.start()

    def __enter__(self) -> "Stages":
        self.entered = _STAGES.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _STAGES.reset(self.entered)
        self.close()


_STAGES: contextvars.ContextVar[Stages | None] = contextvars.ContextVar(
    "stages", default=None
)


def tally(total: int) -> Callable[[], None]:
    """A function to call as each part of the stage under way begins, which says so.

    On a terminal the stage's line has "3 of 15" then; elsewhere there is a line at each
    tenth. Without [`Stages`][penchant.training.Stages] around it says nothing.

    Args:
        total: How many parts there will be.

    Raises:
        TypeError: If that is no whole number.
        ValueError: If it is less than 1.
    """
    total = check_count("total", total)
    numbers = iter(range(1, total + 1))

    def begins() -> None:
        stages = _STAGES.get()
        number = next(numbers, total)
        if stages is not None:
            stages.part(number, total)

    return begins


@contextlib.contextmanager
def progress_bar(
    progress: object, steps: int, done: int, what: str
) -> Iterator[Report]:
    """Yield a function that is told the steps done and the log-loss there.

    The first it is told of is one whose time went into compiling, and is said so. Off
    a terminal a line is printed at each tenth of the steps.
    """
    if not is_shown(progress) or done >= steps:
        yield lambda step, log_loss: None
        return
    console = _console()
    begun = time.monotonic()
    if not console.is_terminal:
        say(f"{what}: compiling …")
        yield _Lines(what, steps, done)
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Clock(ProgressColumn):
        """Time gone and time left; the first call's is spent on compiling."""

        def render(self, task: Task) -> Text:
            gone = duration(time.monotonic() - begun)
            if not task.fields["compiled"]:
                return Text(f"compiling, {gone}")
            left = task.time_remaining
            tail = "" if left is None else f", {duration(left)} left"
            return Text(gone + tail)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.percentage:>3.0f} %"),
        Clock(),
    )
    compiled: list[float] = []
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=steps, completed=done, compiled=False)

        def report(step: int, log_loss: float) -> None:
            if not compiled:
                compiled.append(time.monotonic() - begun)
                # so that time left is not taken from the first call's
                bar.reset(task, total=steps, completed=step)
            bar.update(task, completed=step, compiled=True)

        yield report
    first = f", of that compiling {duration(compiled[0])}" if compiled else ""
    taken = time.monotonic() - begun
    if taken >= LONG:
        say(f"{what}, {steps:,} steps: {duration(taken)}{first}")


class _Lines:
    """A line at each tenth of the work, where lines can't be drawn again."""

    def __init__(self, what: str, steps: int, done: int):
        self.what, self.steps = what, steps
        self.begun = time.monotonic()
        self.first, self.started = done, 0.0
        self.next = (int(done / steps / EVERY) + 1) * EVERY

    def __call__(self, step: int, log_loss: float) -> None:
        now = time.monotonic()
        if not self.started:
            self.first, self.started = step, now
            say(f"{self.what}: compiled in {duration(now - self.begun)}")
        share = step / self.steps
        if share < self.next - 1e-9:
            return
        self.next = (int(share / EVERY + 1e-9) + 1) * EVERY
        since, gone = now - self.started, now - self.begun
        line = f"{self.what}: {100 * share:.0f} %, {duration(gone)}"
        if self.first < step < self.steps:
            left = since * (self.steps - step) / (step - self.first)
            line += f", {duration(left)} left"
        say(line)


def duration(seconds: float) -> str:
    """As people say it: `3.2 s`, `48 s`, `2 min 5 s`, `1 h 4 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def say(text: str) -> None:
    """A line on stderr, at once, of however many columns the terminal has."""
    _console().print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)
