"""`penchant sweep`."""

import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, notes, told
from penchant.cli._options import (
    OF_DATA,
    OF_RULE,
    OF_RUN,
    Cluster,
    Json,
    Quiet,
    executor_at,
    read,
    whole,
)

if TYPE_CHECKING:
    import xarray

ROWS = 40
"""Runs that are printed; all are in the store."""

OWN = {"grid", "steps", "record", "weights", "save", "norms", "ray"}
"""Keys of the file besides the options that every command has."""


@app.command(epilog="Exit codes: 0 done · 2 bad input · 130 interrupted.")
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to run, as TOML.")],
    out: Annotated[
        str | None,
        typer.Option(
            help="Zarr store of all records: path or URL, as s3://bucket/a.zarr. By "
            "default the file's `save`, or its name with .zarr."
        ),
    ] = None,
    ray: Cluster = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    r"""Run every combination of a grid of settings; say which margin each run has.

    The file holds the options of `penchant diagnose` under their names, and a table
    \[grid] of what varies: a list, {log = \[first, last, count]},
    {linear = \[first, last, count]} or {range = \[first, end]}. Records are stored as
    they come, and the same command goes on from there.

    [bold]Example[/bold]

      data = "digits"
      classes = \[3, 8]
      optimizer = "adam"
      batch-size = 1
      steps = 1e4
      norms = \["l2", "linf"]

      \[grid]
      eps = {log = \[1e-12, 1e-2, 11]}
      seed = {range = \[0, 4]}
    """
    with told(as_json):
        asked = _table(file)
        own = {name: asked.pop(name) for name in OWN if name in asked}
        given = _given(asked)
        grid = _grid(own.get("grid"))
        steps = whole("steps", _number("steps", own.get("steps", 10_000)))
        record = whole("record", _number("record", own.get("record", 50)))
        dataset, run = read(given)
        if run["step_size"] is None and "step_size" not in grid:
            raise ValueError(
                f"{file}: give step-size, as a setting or in [grid]: a default that "
                "hangs on the rule would differ from run to run."
            )
        problem = run.pop("problem")
        norms = [pn.norms.read(name) for name in own.get("norms", ["l2", "linf"])]
        where = out or own.get("save") or f"{file.with_suffix('.zarr')}"
        found = pn.sweep(
            problem,
            run.pop("optimizer"),
            grid=grid,
            steps=steps,
            record=record,
            weights=own.get("weights", True) is True,
            key=given["seed"],
            progress=False if quiet or as_json else None,
            save=where,
            executor=executor_at(ray if ray is not None else own.get("ray")),
            **run,
        )
        rows = list(_rows(found, problem, norms))
    if as_json:
        print(as_text({"store": where, "steps": int(found.step[-1]), "runs": rows}))  # noqa: T201
        return
    notes(dataset)
    console = Console()
    console.print(escape(_printed(rows)), highlight=False)
    console.print(f"\nAll records: [bold]{escape(where)}[/bold]  (xarray.open_zarr)")


def _table(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as handle:
            asked = tomllib.load(handle)
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not TOML: {error}.") from None
    return {name.replace("-", "_"): value for name, value in asked.items()}


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options of every command, as their defaults and the file have them."""
    known = {**OF_DATA, **OF_RULE, **OF_RUN}
    given = {name: default for name, (_, default) in known.items()}
    given["holdout"] = None
    for name, value in asked.items():
        if name not in known:
            have = ", ".join(sorted((*known, *OWN)))
            raise ValueError(f"{name!r} is no setting of a sweep; have: {have}.")
        text = isinstance(value, list)
        given[name] = ",".join(map(str, value)) if text else value
        if name == "step_size" and not isinstance(value, str):
            given[name] = repr(value)
    return given


def _grid(asked: Any) -> dict[str, Any]:
    if not isinstance(asked, dict) or not asked:
        raise ValueError(
            'A table [grid] must say what varies, as in "b2 = [0.9, 0.99]".'
        )
    return {name.replace("-", "_"): _values(name, v) for name, v in asked.items()}


def _values(name: str, asked: Any) -> list[Any]:
    if isinstance(asked, list):
        return asked
    spaced = {"log": np.geomspace, "linear": np.linspace, "range": np.arange}
    if isinstance(asked, dict) and len(asked) == 1 and set(asked) <= set(spaced):
        ((kind, bounds),) = asked.items()
        try:
            return spaced[kind](*bounds).tolist()
        except (TypeError, ValueError) as error:
            raise ValueError(f"grid: {name} = {asked!r} is none: {error}.") from None
    raise ValueError(
        f"grid: {name} must be a list, {{log = [first, last, count]}}, {{linear = "
        f"[first, last, count]}} or {{range = [first, end]}}; got {asked!r}."
    )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number; got {value!r}.")
    return float(value)


def _rows(
    found: "xarray.Dataset", problem: Any, norms: list[Any]
) -> Iterator[dict[str, Any]]:
    """The end of each run, and its share of the largest margin in each norm."""
    import jax.numpy as jnp

    axes = [name for name in found.log_loss.dims if name != "step"]
    best = {} if "weights" not in found else _largest(problem, norms)
    end = found.isel(step=-1)
    for index in np.ndindex(*(found.sizes[name] for name in axes)):
        lane = end.isel(dict(zip(axes, index, strict=True)))
        row: dict[str, Any] = {name: lane[name].item() for name in axes}
        row["log loss"] = float(lane.log_loss)
        if "margin" in lane:
            least = float(lane.margin)
            row["separates"] = least > 0
            for norm, most in best.items():
                length = float(norm(jnp.asarray(lane.weights.to_numpy())))
                known = math.isfinite(least) and length > 0 and least > 0
                row[f"{norm.label} share"] = least / length / most if known else None
        yield row


def _largest(problem: Any, norms: list[Any]) -> dict[Any, float]:
    """The largest margins there are; none where the data are not separable."""
    try:
        return {norm: float(pn.max_margin(problem, norm).margin) for norm in norms}
    except (pn.NotSeparableError, pn.UndecidedError):
        return {}


def _printed(rows: list[dict[str, Any]]) -> str:
    heads = list(rows[0])
    lines = [heads] + [[_cell(row[head]) for head in heads] for row in rows[:ROWS]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    text = "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    if any(head.endswith(" share") for head in heads):
        text += "\n\nShares are of the largest margin that any weights have in a norm."
    more = len(rows) - ROWS
    return text + (f"\n… and {more:,} more" if more > 0 else "")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
