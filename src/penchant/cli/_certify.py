"""`penchant certify`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, notes, told
from penchant.cli._options import (
    OF_DATA,
    Given,
    Json,
    listed,
    load,
    with_options,
)


@app.command(epilog="Exit codes: 0 done · 2 bad input, options or weights.")
@with_options(OF_DATA)
def certify(
    given: Given,
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            help="Of a linear layer: .npy, .npz, .pt or .pth (a tensor or state dict), "
            ".safetensors.",
        ),
    ],
    key: Annotated[
        str | None,
        typer.Option(help="Of the layer in the file, as in fc or fc.weight."),
    ] = None,
    norms: Annotated[
        str | None,
        typer.Option(help="Norms to compare, as in l2,linf. All usual ones by default"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which solution your own training picked, from its weights.

    The share of the largest margin in every norm, certified, and the alignment of the
    weights with the gradient. The data must be those of the training, with the same
    columns and scaling. A layer with a bias brings the feature that is 1.

    [bold]Examples[/bold]

      penchant certify train.csv head.npy --target label

      penchant certify features.npz model.pt --key classifier
    """
    with told(as_json):
        dataset = load({**given, "seed": 0})
        head = pn.problems.load_head(weights, key=key)
        bias = given["bias"] or head.bias is not None
        problem = dataset.problem(pn.losses.read(given["loss"]), bias)
        compared = None if norms is None else listed(norms, pn.norms.read)
        says = pn.examine(problem, head, norms=compared)
    if as_json:
        print(as_text(says.to_dict()))  # noqa: T201
        return
    notes(dataset)
    console = Console()
    console.print(f"\n[bold]{escape(says.headline)}[/bold]")
    console.print(escape(says.explanation) + "\n", highlight=False)
    console.print(escape(repr(says.table)), highlight=False)
    for note in says.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
