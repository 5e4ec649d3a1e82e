"""The program, its exit codes, and how an error is told."""

import contextlib
import json
from collections.abc import Iterator
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn

BAD_INPUT, NOT_SEPARABLE, DISAGREES, UNDECIDED, INTERRUPTED = 2, 3, 4, 5, 130

app = typer.Typer(
    name="penchant",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="Which solution does my optimizer pick, and why?\n\n"
    "Many weights fit the same training data. [bold]diagnose[/bold] trains a linear "
    "classifier on yours and says which of them your optimizer chose: the one with the "
    "largest margin in some norm, with a certificate, next to what theory foretells.",
    epilog="Start with:  penchant diagnose digits --optimizer adam --out report",
)


@contextlib.contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Reasons that lie in the input become a sentence and an exit code."""
    try:
        yield
    except (ValueError, TypeError, MemoryError) as error:
        # a subclass of ValueError; asked for by name only once something was raised
        code = BAD_INPUT
        if isinstance(error, pn.NotSeparableError):
            code = NOT_SEPARABLE
        elif isinstance(error, pn.UndecidedError):
            code = UNDECIDED
        stop(str(error) or type(error).__name__, code, as_json)
    except KeyboardInterrupt:
        stop("interrupted", INTERRUPTED, as_json)


def stop(message: str, code: int, as_json: bool) -> NoReturn:
    """End with a sentence and an exit code."""
    if as_json:
        print(json.dumps({"error": message}, ensure_ascii=False))  # noqa: T201
    else:
        Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(message)}")
    raise typer.Exit(code)


def as_text(result: object) -> str:
    """A result as JSON."""
    return json.dumps(result, indent=2, ensure_ascii=False)


def notes(dataset: "pn.datasets.Dataset") -> None:
    """What is to be known about the data, on stderr."""
    console = Console(stderr=True)
    for note in dataset.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
