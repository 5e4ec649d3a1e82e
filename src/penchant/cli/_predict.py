"""`penchant predict`."""

from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, notes, told
from penchant.cli._options import (
    OF_DATA,
    OF_RULE,
    OF_RUN,
    Given,
    Json,
    read,
    with_options,
)


@app.command(
    epilog="Exit codes: 0 done · 2 bad input · 3 not linearly separable · "
    "5 not decided whether."
)
@with_options(OF_DATA, OF_RULE, OF_RUN)
def predict(
    given: Given,
    as_json: Json = False,
) -> None:
    """Say what theory foretells, without training.

    Names the norm whose margin the direction of the weights tends to, the theorem,
    each of its assumptions with whether it holds for these data and settings, and the
    regimes on the way.
    """
    with told(as_json):
        dataset, setting = read(given)
        with pn.training.Stages(None if not as_json else False) as stages:
            stages("what theory foretells")
            foretold = pn.predict(**setting)
    if as_json:
        print(as_text(foretold.to_dict()))  # noqa: T201
    else:
        notes(dataset)
        Console().print(escape(repr(foretold)), highlight=False)
