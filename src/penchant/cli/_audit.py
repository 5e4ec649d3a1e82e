"""`penchant audit`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, told
from penchant.cli._options import Data, Json


@app.command(epilog="Exit codes: 0 done · 2 bad input.")
def audit(
    data: Data,
    sequences: Annotated[
        bool,
        typer.Option(
            "--ssm",
            help="Rows are sequences, the newest number last: which lags do "
            "they excite, which examples undo the bias of a state space model?",
        ),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="Column of labels, or key in .npz; y if there is one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what data excite, and which examples may poison what is learned from them.

    With --ssm: rank and conditioning of the excitation, the energy at each lag, and
    each example's share of what moves all poles at one speed.

    [bold]Examples[/bold]

      penchant audit sequences.npz --ssm

      penchant audit X.npy,y.npy --ssm --json
    """
    with told(as_json):
        if not sequences:
            raise ValueError("audit must be told what to look at: --ssm.")
        given = pn.datasets.load_sequences(data, target=target)
        found = pn.audits.audit_sequences(given.X, given.y, name=given.name)
    if as_json:
        print(as_text(found.to_dict()))  # noqa: T201
        return
    console = Console()
    console.print(f"\n[bold]{escape(found.headline)}[/bold]")
    console.print(escape(repr(found).partition("\n")[2]), highlight=False)
