"""`penchant match`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, told
from penchant.cli._options import Json, listed


@app.command(epilog="Exit codes: 0 done · 2 bad input · 5 not identifiable.")
def match(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="An .npz with weights (t+1, p), gradients (t, p) and step_size of "
            "consecutive steps, or with weights and gradient of one endpoint; or a "
            "report's folder (or its trajectory.zarr), which needs --data.",
        ),
    ],
    penalties: Annotated[
        str,
        typer.Option(
            help="As in ridge,l1: ridge, l1, l1:SMOOTH, power:P, group, nuclear, "
            "schatten:P, gradient-norm."
        ),
    ] = "ridge",
    optimizer: Annotated[
        str, typer.Option(help="The rule that made the steps, without its decay.")
    ] = "gd",
    step_size: Annotated[
        float | None, typer.Option("--step-size", "--lr", help="If the file has none.")
    ] = None,
    decoupled: Annotated[
        bool,
        typer.Option(help="Penalties act beside the rule's step, as decay of AdamW."),
    ] = False,
    nonnegative: Annotated[
        bool, typer.Option(help="Endpoints: coefficients of at least 0.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="What a saved linear classifier was trained on."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column of its labels.")] = None,
    loss: Annotated[str, typer.Option(help="The loss it was trained with.")] = (
        "logistic"
    ),
    as_json: Json = False,
) -> None:
    """Say which penalty acted on a training run, how strongly, and what that is worth.

    From every step of a run that you logged, from weights and gradient where it ended,
    or from a run that penchant saved. Gradients are of the mean loss without the
    penalty: over the batch seen for steps, over all samples and in evaluation mode for
    an endpoint.

    [bold]Examples[/bold]

      penchant match steps.npz --penalties ridge,l1 --optimizer adam --lr 1e-3

      penchant match end.npz --penalties ridge,nuclear

      penchant match report --data digits --penalties ridge
    """
    with told(as_json):
        wanted = listed(penalties, pn.penalties.read)
        if run.suffix == ".zarr" or run.is_dir():
            says = _of_report(run, wanted, data, target, loss, nonnegative)
        else:
            log = pn.estimators.load_log(run, step_size=step_size, optimizer=optimizer)
            if isinstance(log, pn.estimators.LoggedRun):
                way = pn.estimators.Replay(decoupled=decoupled)
                says = pn.estimators.match_run(log, wanted, residual=way)
            else:
                says = pn.estimators.match(
                    log, log.weights, wanted, nonnegative=nonnegative
                )
    if as_json:
        print(as_text(says.to_dict()))  # noqa: T201
    else:
        Console().print(escape(repr(says)), highlight=False)
    if not says.identifiable:
        raise typer.Exit(5)


def _of_report(
    run: Path,
    wanted: "list[pn.penalties.AbstractPenalty]",
    data: str | None,
    target: str | None,
    loss: str,
    nonnegative: bool,
) -> "pn.estimators.Match":
    import xarray

    store = run if run.suffix == ".zarr" else run / "trajectory.zarr"
    if not store.is_dir():
        raise ValueError(f"{run} holds no run that penchant saved (trajectory.zarr).")
    if data is None:
        raise ValueError(
            f"{store} has weights and no gradients: give the data with --data."
        )
    with xarray.open_zarr(store, chunks=None, consolidated=False) as saved:
        if "weights" not in saved:
            raise ValueError(f"{store} is of a network; match it from Python.")
        w = saved["weights"].values[-1]
    dataset = pn.datasets.load(data, target=target)
    width = w.shape[-1] - len(dataset.X[0])
    if width not in (0, 1):
        raise ValueError(
            f"--data has {len(dataset.X[0])} features where the weights have "
            f"{w.shape[-1]}."
        )
    problem = dataset.problem(pn.losses.read(loss), bool(width))
    return pn.estimators.match(problem, w, wanted, nonnegative=nonnegative)
