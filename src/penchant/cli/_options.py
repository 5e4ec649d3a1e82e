"""Options that several commands share: written once, applied by a decorator."""

import functools
import hashlib
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import penchant as pn

RULES = (
    "gd, steepest, sign, signum, adam, adamw, adame, adalayer, nadam, rmsprop, "
    "adagrad, muon, spectral, shampoo, lion"
)
"""Names of optimizers, as text: help needs no engine."""

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A file (.csv .tsv .parquet .npz, idx or idx.gz, or a pair X.npy,y.npy), "
        "openml:NAME, or digits, which is built in.",
    ),
]
_DATA, _RULE, _RUN = "Data", "Optimizer", "Run"
Target = Annotated[
    str | None,
    typer.Option(help="Column of labels (key in an npz).", rich_help_panel=_DATA),
]
Classes = Annotated[
    str | None,
    typer.Option(help="Labels to keep, as in 3,8. Two are ±1.", rich_help_panel=_DATA),
]
Skip = Annotated[
    str | None, typer.Option(help="Columns to leave out.", rich_help_panel=_DATA)
]
Rows = Annotated[
    str | None,
    typer.Option(
        help="Take a random sample of so many rows, or all.", rich_help_panel=_DATA
    ),
]
DropMissing = Annotated[
    bool,
    typer.Option(help="Leave out rows with missing values.", rich_help_panel=_DATA),
]
Standardize = Annotated[
    bool,
    typer.Option(
        help="Features to mean 0, deviation 1. Changes which norm's optimum is which.",
        rich_help_panel=_DATA,
    ),
]
Bias = Annotated[
    bool, typer.Option(help="Append a feature that is 1.", rich_help_panel=_DATA)
]
Loss = Annotated[
    str, typer.Option(help="logistic, exponential or pairlog.", rich_help_panel=_DATA)
]
Optimizer = Annotated[
    str,
    typer.Option(help=RULES + ".", rich_help_panel=_RULE),
]
Norm = Annotated[
    str | None,
    typer.Option(
        help="Of steepest: l1, l2, linf, lp:3, spectral, nuclear, schatten:1.5.",
        rich_help_panel=_RULE,
    ),
]
Decay = Annotated[float | None, typer.Option(rich_help_panel=_RULE)]
WeightDecay = Annotated[
    float | None, typer.Option(help="Of adamw, decoupled.", rich_help_panel=_RULE)
]
Momentum = Annotated[float | None, typer.Option(help="Of gd.", rich_help_panel=_RULE)]
Eps = Annotated[
    float | None,
    typer.Option(help="ε of adam and its kin, shampoo.", rich_help_panel=_RULE),
]
Exponent = Annotated[
    float | None,
    typer.Option(help="Power of the memory: adame, shampoo.", rich_help_panel=_RULE),
]
EpsInside = Annotated[
    bool | None,
    typer.Option(
        "--eps-inside", help="√(v + ε) in place of √v + ε.", rich_help_panel=_RULE
    ),
]
BiasCorrection = Annotated[
    bool | None,
    typer.Option(
        "--bias-correction", help="As the frameworks do.", rich_help_panel=_RULE
    ),
]
Polar = Annotated[
    str | None,
    typer.Option(
        help="Of muon: exact, ns:5 (Newton–Schulz), cubic:15.", rich_help_panel=_RULE
    ),
]
Nesterov = Annotated[
    bool | None, typer.Option("--nesterov", help="Of muon.", rich_help_panel=_RULE)
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Samples an update sees; all by default.", rich_help_panel=_RUN),
]
Order = Annotated[
    str,
    typer.Option(help="cyclic, shuffled or replacement.", rich_help_panel=_RUN),
]
StepSize = Annotated[
    str | None,
    typer.Option(
        help="0.01, or 0.1*t^-0.5. By default one that suits the data's scale.",
        rich_help_panel=_RUN,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of the order and of samples.", rich_help_panel=_RUN)
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
]

OF_DATA: dict[str, tuple[Any, Any]] = {
    "data": (Data, "digits"),
    "target": (Target, None),
    "classes": (Classes, None),
    "skip": (Skip, None),
    "rows": (Rows, None),
    "drop_missing": (DropMissing, False),
    "standardize": (Standardize, False),
    "bias": (Bias, False),
    "loss": (Loss, "logistic"),
}
OF_RULE: dict[str, tuple[Any, Any]] = {
    "optimizer": (Optimizer, "adam"),
    "norm": (Norm, None),
    "b1": (Decay, None),
    "b2": (Decay, None),
    "eps": (Eps, None),
    "eps_inside": (EpsInside, None),
    "exponent": (Exponent, None),
    "bias_correction": (BiasCorrection, None),
    "weight_decay": (WeightDecay, None),
    "momentum": (Momentum, None),
    "polar": (Polar, None),
    "nesterov": (Nesterov, None),
}
OF_RUN: dict[str, tuple[Any, Any]] = {
    "batch_size": (BatchSize, None),
    "order": (Order, "shuffled"),
    "step_size": (StepSize, None),
    "seed": (Seed, 0),
}

Given = dict[str, Any]
"""The values of shared options by name."""


def with_options(
    *groups: dict[str, tuple[Any, Any]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The command's function gets `given`, the values of all options of the groups.

    Its own parameters follow theirs in the help.
    """
    shared = {name: option for group in groups for name, option in group.items()}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        kind = inspect.Parameter.KEYWORD_ONLY
        own = [
            parameter.replace(kind=kind)
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "given"
        ]
        ours = [
            inspect.Parameter(name, kind, default=default, annotation=annotation)
            for name, (annotation, default) in shared.items()
        ]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            given = {name: values.pop(name) for name in shared}
            function(given, **values)

        # typer reads both
        parameters = [*ours, *own]
        vars(command)["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        del vars(command)["__wrapped__"]
        return command

    return decorate


def read(given: Given) -> "tuple[pn.datasets.Dataset, dict[str, Any]]":
    """The data, and the arguments of `diagnose` and `predict`, from the options."""
    rows, classes, skip = given["rows"], given["classes"], given["skip"]
    wanted = rows if rows in (None, "all") else whole("--rows", _float("--rows", rows))
    dataset = pn.datasets.load(
        given["data"],
        target=given["target"],
        classes=None if classes is None else listed(classes, str),
        skip=() if skip is None else listed(skip, str),
        rows=wanted,
        drop_missing=given["drop_missing"],
        seed=given["seed"],
    )
    if given["standardize"]:
        dataset = dataset.standardized()
    options = {name: given[name] for name in pn.optimizers.OPTIONS}
    return dataset, {
        "problem": dataset.problem(pn.losses.read(given["loss"]), given["bias"]),
        "optimizer": pn.optimizers.read(given["optimizer"], **options),
        "batching": pn.batching.read(given["batch_size"], given["order"]),
        "step_size": step_size(given["step_size"]),
    }


def step_size(text: str | None) -> Any:
    """A schedule; None for the default."""
    if text is None or text.strip().lower() == "auto":
        return None
    return pn.schedules.read(text)


def digest(given: Given) -> str:
    """What tells one unfinished run in a folder from another."""
    return hashlib.sha256(repr(sorted(given.items())).encode()).hexdigest()[:8]


def listed(text: str, kind: Callable[[str], Any]) -> list[Any]:
    """The parts between commas."""
    return [kind(part.strip()) for part in text.split(",") if part.strip()]


def whole(name: str, value: float) -> int:
    """A whole number of at least 1.

    Raises:
        ValueError: If it is none.
    """
    if not (math.isfinite(value) and value == int(value) and value >= 1):
        raise ValueError(f"{name} must be a whole number of at least 1; got {value:g}.")
    return int(value)


def _float(name: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{name} must be a number or all; got {text!r}.") from None


def writable(out: Path) -> None:
    """A folder that can't be written is better known before the run than after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / ".penchant"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"--out {out} can't be written: {error.strerror}.") from None
