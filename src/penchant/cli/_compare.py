"""`penchant compare`."""

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
    INTERRUPTED,
    NOT_SEPARABLE,
    app,
    as_text,
    notes,
    told,
)
from penchant.cli._options import (
    _RULE,
    _RUN,
    OF_DATA,
    OF_RUN,
    OF_TEST,
    RULES,
    Cluster,
    Given,
    Json,
    Norms,
    Quiet,
    Steps,
    _completed,
    executor_at,
    listed,
    load,
    step_size,
    whole,
    with_options,
)


@app.command(
    epilog="Exit codes: 0 done · 2 bad input or options · 3 the data are not linearly "
    "separable (the page compares alignments) · 130 interrupted (what was reached is "
    "written; the same command goes on)."
)
@with_options(OF_DATA, OF_TEST, OF_RUN)
def compare(
    given: Given,
    optimizers: Annotated[
        str,
        typer.Option(
            "--optimizers",
            help=f"Rules between commas, with settings after a colon: "
            f"gd,adam:b2=.95,batch=1,muon. Have: {RULES}.",
            rich_help_panel=_RULE,
            autocompletion=_completed(RULES),
        ),
    ] = "gd,adam,muon",
    seeds: Annotated[
        int,
        typer.Option(
            help="Runs of each rule whose batches are drawn; gives intervals.",
            rich_help_panel=_RUN,
        ),
    ] = 1,
    steps: Steps = None,
    norms: Norms = None,
    ray: Cluster = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the page.", rich_help_panel="Output")
    ] = Path("penchant-comparison"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train several optimizers on the same data, and say which margin each picked.

    Writes DIR/comparison.html (one picture, one table), comparison.svg,
    comparison.json and the report of every run in DIR/runs, as they come.

    [bold]Examples[/bold]

      penchant compare digits --optimizers gd,adam:eps=0,muon

      penchant compare data.csv --optimizers sgd,adamw:like=torch --seeds 5
    """
    with told(as_json):
        dataset = load(given)
        compared = None if norms is None else listed(norms, pn.norms.read)
        updates = None if steps is None else whole("--steps", steps)
        with held("--out", out):
            result = pn.compare(
                dataset.problem(pn.losses.read(given["loss"]), given["bias"]),
                optimizers,
                seeds=seeds,
                batch_size=given["batch_size"],
                order=given["order"],
                step_size=step_size(given["step_size"]),
                steps=updates,
                norms=compared,
                key=given["seed"],
                holdout=given["holdout"],
                progress=not (quiet or as_json),
                folder=out,
                executor=executor_at(ray),
                about={
                    "data": dataset.name,
                    "labels": ", ".join(dataset.classes) or None,
                    "notes": list(dataset.notes),
                    "command": "penchant " + shlex.join(sys.argv[1:]),
                },
            )
    if as_json:
        print(as_text(result.to_dict()))  # noqa: T201
    else:
        notes(dataset)
        console = Console()
        console.print(f"\n[bold]{escape(result.headline)}[/bold]")
        console.print(escape(result.explanation) + "\n", highlight=False)
        console.print(escape(result.table), highlight=False)
        if result.held_out is not None:
            text = f"\n{result.held_out.headline} {result.held_out.explanation}"
            console.print(escape(text), highlight=False)
        if (out / "comparison.html").exists():
            console.print(f"\nOpen [bold]{escape(str(out / 'comparison.html'))}[/bold]")
    if not (out / "comparison.html").exists():
        raise typer.Exit(BAD_INPUT)
    if not result.complete:
        raise typer.Exit(INTERRUPTED)
    if result.separable is False:
        raise typer.Exit(NOT_SEPARABLE)
