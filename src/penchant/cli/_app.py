"""The program, its exit codes, and how an error is told."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant._visible import visible

BAD_INPUT, NOT_SEPARABLE, DISAGREES, UNDECIDED, INTERRUPTED = 2, 3, 4, 5, 130

app = typer.Typer(
    name="penchant",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Which solution does my optimizer pick, and why?\n\n"
    "Many weights fit the same training data. [bold]diagnose[/bold] trains a linear "
    "classifier on yours and says which of them your optimizer chose: the one with the "
    "largest margin in some norm, with a certificate, next to what theory foretells.",
    epilog="Start with:  penchant diagnose digits --optimizer adam --out report",
)


def _version(asked: bool) -> bool:
    if asked:
        print(f"penchant {pn.__version__}")  # noqa: T201
        raise typer.Exit
    return asked


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


@contextlib.contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Reasons that lie in the input become a sentence and an exit code."""
    try:
        with _warned():
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


@contextlib.contextmanager
def _warned() -> Iterator[None]:
    """Warnings are notes on stderr, without the line of code that they came from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: note(str(message))
        yield


def stop(message: str, code: int, as_json: bool) -> NoReturn:
    """End with a sentence and an exit code."""
    if as_json:
        print(json.dumps({"error": visible(message)}, ensure_ascii=False))  # noqa: T201
    else:
        complain(message)
    raise typer.Exit(code)


def complain(message: str) -> None:
    """An error as a sentence on stderr."""
    text = escape(visible(message))
    Console(stderr=True).print(f"[bold red]error:[/bold red] {text}")


def written(
    result: "pn.diagnosis.AbstractDiagnosis | pn.studies.Result | pn.Identification",
    out: Path,
) -> Path | None:
    """The page of a result that was saved; None, with an error told, where it wasn't.

    What took the time was computed by then, and is shown all the same.
    """
    try:
        return result.save(out)
    except OSError as error:
        why = error.strerror or str(error)
        complain(f"--out {out} can't be written: {why}. No report was left there.")
        return None


def as_text(result: object) -> str:
    """A result as JSON."""
    return json.dumps(result, indent=2, ensure_ascii=False)


def notes(dataset: "pn.datasets.Dataset") -> None:
    """What is to be known about the data, on stderr."""
    for text in dataset.notes:
        note(text)


def note(text: str) -> None:
    """Something to be known, on stderr."""
    shown = escape(visible(text))
    Console(stderr=True).print(f"[yellow]note:[/yellow] {shown}")
