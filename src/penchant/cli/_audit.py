"""`penchant audit`."""

from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, told
from penchant.cli._options import Data, Json, listed


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
    classes: Annotated[
        str | None,
        typer.Option(help="Two of the classes, as in 3,8. Not with --ssm."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="Audit so many rows, drawn, and measure on the others."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Measure errors by cross-validation in so many folds."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and the folds.")] = 0,
    as_json: Json = False,
) -> None:
    """Say whether an SVM on these data is least squares, and what overfitting costs.

    Of two classes: the share of support vectors beside the one predicted, the signal
    and effective rank, and risks of max margin, averaging and early stopping, measured
    where --rows or --folds ask for it.

    With --ssm of sequences: rank and conditioning of the excitation, the energy at
    each lag, and each example's share of what moves all poles at one speed.

    [bold]Examples[/bold]

      penchant audit train.csv --target label --folds 5

      penchant audit digits --classes 3,8 --rows 50

      penchant audit sequences.npz --ssm
    """
    with told(as_json):
        if sequences:
            given = {"--classes": classes, "--rows": rows, "--folds": folds}
            wrong = [name for name, value in given.items() if value is not None]
            if wrong:
                raise ValueError(f"--ssm takes no {wrong[0]}.")
            found: Any = _sequences(data, target)
        else:
            found = _overfitting(data, target, classes, rows, folds, seed)
    if as_json:
        print(as_text(found.to_dict()))  # noqa: T201
        return
    console = Console()
    console.print(f"\n[bold]{escape(found.headline)}[/bold]")
    console.print(escape(repr(found).partition("\n")[2]), highlight=False)


def _sequences(data: str, target: str | None) -> "pn.audits.SequenceAudit":
    given = pn.datasets.load_sequences(data, target=target)
    return pn.audits.audit_sequences(given.X, given.y, name=given.name)


def _overfitting(
    data: str,
    target: str | None,
    classes: str | None,
    rows: int | None,
    folds: int | None,
    seed: int,
) -> "pn.audits.Overfitting":
    some = None if classes is None else listed(classes, str)
    given = pn.datasets.load(data, target=target, classes=some, rows="all")
    if len(given.classes) != 2:
        names = ", ".join(given.classes[:10]) or "none"
        raise ValueError(
            "audit looks at two classes; name them, as in --classes "
            f"{','.join(given.classes[:2]) or '0,1'}. There are {len(given.classes)}: "
            f"{names}. Of sequences it must be told: --ssm."
        )
    X, y, held_out = given.X, given.y, None
    if rows is not None:
        n = len(X)
        if not 0 < rows < n:
            raise ValueError(f"--rows must leave some of the {n} rows; got {rows}.")
        order = np.random.default_rng(seed).permutation(n)
        if folds is None:
            held_out = (X[order[rows:]], y[order[rows:]])
        X, y = X[order[:rows]], y[order[:rows]]
    return pn.audits.overfitting(
        X, y, held_out=held_out, folds=folds, seed=seed, name=given.name
    )
