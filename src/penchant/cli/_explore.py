"""`penchant explore`."""

from typing import Annotated

import typer

import penchant as pn
from penchant.cli._app import app, notes, told
from penchant.cli._options import listed


@app.command(epilog="Exit codes: 0 ended by Ctrl-C · 2 bad input, or no such server.")
def explore(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="As for diagnose. Two features are points to drag, of more the "
            "weights are shown; by default points to begin with.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column of labels (key in .npz .mat .h5).")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Labels to keep, as in 3,8. Two are ±1.")
    ] = None,
    bias: Annotated[bool, typer.Option(help="Append a feature that is 1.")] = False,
    loss: Annotated[
        str, typer.Option(help="logistic, exponential or pairlog.")
    ] = "logistic",
    preset: Annotated[
        str | None, typer.Option(help="Begin with this point, as kink.")
    ] = None,
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 0,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. The loopback is seen by this machine "
            "alone; who can reach any other can use the page."
        ),
    ] = "127.0.0.1",
    origin: Annotated[
        str | None,
        typer.Option(help="host:port of a proxy whose pages may speak to it."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open a page on which one can touch the data, the rule and the run.

    It computes with this library on this machine. Its address says what it shows, so
    that it can be shared.

    [bold]Examples[/bold]

      penchant explore

      penchant explore --preset kink

      penchant explore digits --classes 3,8
    """
    with told(as_json=False):
        state, given = _begin(data, target, classes, bias, loss, preset)
        origins = [] if origin is None else [origin]
        try:
            pn.explorer.serve(
                state, given, host=host, port=port, origins=origins, show=browser
            )
        except (ImportError, OSError) as error:
            raise ValueError(str(error)) from error


def _begin(
    data: str | None,
    target: str | None,
    classes: str | None,
    bias: bool,
    loss: str,
    preset: str | None,
) -> "tuple[pn.explorer.State, pn.LinearClassification | None]":
    if preset is not None:
        if data is not None:
            raise ValueError("--preset has data of its own; leave DATA out.")
        if preset not in pn.explorer.PRESETS:
            names = ", ".join(pn.explorer.PRESETS)
            raise ValueError(f"--preset must be one of {names}; got {preset!r}.")
        return pn.explorer.PRESETS[preset].state, None
    if data is None:
        return pn.explorer.state_of(None)
    some = None if classes is None else listed(classes, str)
    found = pn.datasets.load(data, target=target, classes=some)
    notes(found)
    return pn.explorer.state_of(found.problem(loss, bias=bias))
