"""`penchant diagnose`."""

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant._files import held
from penchant.cli._app import (
    BAD_INPUT,
    DISAGREES,
    INTERRUPTED,
    NOT_SEPARABLE,
    app,
    as_text,
    notes,
    told,
    written,
)
from penchant.cli._options import (
    OF_DATA,
    OF_RULE,
    OF_RUN,
    OF_TEST,
    Given,
    Json,
    Norms,
    Quiet,
    Steps,
    digest,
    listed,
    read,
    whole,
    with_options,
)


@app.command(
    epilog="Exit codes: 0 done · 2 bad input or options, or the report can't be "
    "written (it is shown) · 3 the data are not linearly separable (a report is "
    "written) · 4 with --check, theory is not confirmed · "
    "130 interrupted (once training has begun with a report of what there is)."
)
@with_options(OF_DATA, OF_TEST, OF_RULE, OF_RUN)
def diagnose(
    given: Given,
    steps: Steps = None,
    norms: Norms = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the report.", rich_help_panel="Output")
    ] = Path("penchant-report"),
    check: Annotated[
        bool,
        typer.Option(
            help="Fail (exit code 4) unless the run confirms theory.",
            rich_help_panel="Output",
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, and say which margin the optimizer picked.

    Writes DIR/report.html (open it in a browser), DIR/result.json and the trajectory.

    Two classes are labels ±1 with one weight a feature, where the norms to tell apart
    are ℓ1, ℓ2 and ℓ∞; more classes have a weight matrix, with the spectral and nuclear
    norm besides. A run that is cut off goes on where it stopped if started again.

    [bold]Examples[/bold]

      penchant diagnose digits --optimizer muon --out muon-report

      penchant diagnose iris.csv --target species --classes setosa,virginica

      penchant diagnose t10k-images-idx3-ubyte.gz --classes 0,1 --optimizer sign

      penchant diagnose data.npz --optimizer adam --eps 0 --step-size '0.1*t^-0.5'
    """
    with told(as_json):
        dataset, setting = read(given)
        compared = None if norms is None else listed(norms, pn.norms.read)
        updates = None if steps is None else whole("--steps", steps)
        unfinished = (
            out / f"unfinished-{digest(given | {'steps': steps, 'norms': norms})}"
        )
        with held("--out", out):
            says = pn.diagnose(
                **setting,
                steps=updates,
                norms=compared,
                key=given["seed"],
                holdout=given["holdout"],
                progress=not (quiet or as_json),
                checkpoint=unfinished,
                about={
                    "data": dataset.name,
                    "labels": ", ".join(dataset.classes) or None,
                    "seed": given["seed"],
                    "notes": list(dataset.notes),
                    "command": "penchant " + shlex.join(sys.argv[1:]),
                },
            )
            # first what took the time, then what may fail
            if as_json:
                print(as_text(says.to_dict()))  # noqa: T201
            else:
                _show(says, dataset)
            page = written(says, out)
            finished = not says.interrupted
            if finished and page is not None:
                _forget(unfinished)
    if page is None:
        raise typer.Exit(BAD_INPUT)
    if not as_json:
        Console().print(f"\nOpen [bold]{escape(str(page))}[/bold]")
    if not finished:
        raise typer.Exit(INTERRUPTED)
    if says.separable is False:
        raise typer.Exit(NOT_SEPARABLE)
    if check and says.agrees is not True:
        raise typer.Exit(DISAGREES)


def _forget(unfinished: Path) -> None:
    (unfinished / "checkpoint.npz").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        unfinished.rmdir()


def _show(
    says: "pn.diagnosis.AbstractDiagnosis", dataset: "pn.datasets.Dataset"
) -> None:
    notes(dataset)
    console = Console()
    console.print(f"\n[bold]{escape(says.headline)}[/bold]")
    console.print(escape(says.explanation) + "\n", highlight=False)
    if len(says.table):
        console.print(escape(repr(says.table)) + "\n", highlight=False)
    for line in says.footnotes():
        console.print(escape(line) + "\n", highlight=False)
    for caution in says.warnings:
        console.print(
            f"[yellow]![/yellow] [bold]{escape(caution.headline)}[/bold] "
            f"{escape(caution.detail)}",
            highlight=False,
        )
    for command in says.next:
        console.print(f"Next: [bold]{escape(command)}[/bold]", highlight=False)
