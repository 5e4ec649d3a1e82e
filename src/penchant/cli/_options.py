"""Options that several commands share: written once, applied by a decorator."""

import dataclasses
import functools
import hashlib
import inspect
import math
from collections.abc import Callable
from typing import Annotated, Any

import typer

import penchant as pn

RULES = (
    "gd, sgd, momentum, steepest, sign, signum, adam, adamw, adame, adalayer, nadam, "
    "rmsprop, adagrad, muon, spectral, shampoo, lion"
)
"""Names of optimizers, as text: help needs no engine."""

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A file (.csv .tsv .parquet .arff .svm .npz .mat .h5, idx, or a pair "
        "X.npy,y.npy; text, npy and idx also as .gz .bz2 .xz .zst), openml:NAME, or "
        "digits, which is built in.",
    ),
]
_DATA, _RULE, _RUN = "Data", "Optimizer", "Run"
Target = Annotated[
    str | None,
    typer.Option(
        help="Column of labels (key in .npz .mat .h5).", rich_help_panel=_DATA
    ),
]
Features = Annotated[
    str | None,
    typer.Option(help="Key of the samples in .npz .mat .h5.", rich_help_panel=_DATA),
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
Missing = Annotated[
    str | None,
    typer.Option(
        help="Words that stand for a missing value, as in -,none.",
        rich_help_panel=_DATA,
    ),
]
OneHot = Annotated[
    str | None,
    typer.Option(
        help="Columns of text of which each value becomes a 0/1 feature, or all.",
        rich_help_panel=_DATA,
    ),
]
Decimal = Annotated[
    str,
    typer.Option(
        help="The decimal mark of tables of text: . or ,", rich_help_panel=_DATA
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="Divide all features by it, as 255 for images in bytes.",
        rich_help_panel=_DATA,
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        help="Samples are images, as 28x28 or 32x32x3, or none; known of idx files and "
        "digits. For pictures of the weights.",
        rich_help_panel=_DATA,
    ),
]
Holdout = Annotated[
    float | None,
    typer.Option(
        help="Share of samples that no training sees, as .2: on which the optima "
        "differ, and who is right.",
        rich_help_panel=_DATA,
    ),
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


Steps = Annotated[
    float | None,
    typer.Option(
        help="Updates, as in 1e5. By default as many as fit the size of the data.",
        rich_help_panel=_RUN,
    ),
]
Norms = Annotated[
    str | None,
    typer.Option(
        help="Norms to compare, as in l2,linf. All usual ones by default.",
        rich_help_panel=_RUN,
    ),
]
Quiet = Annotated[bool, typer.Option(help="No progress.", rich_help_panel="Output")]


def _completed(names: str) -> Callable[[str], list[str]]:
    """What a shell offers after the tab key: names, the last of a list too."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        options = [name.strip() for name in names.split(",")]
        return [f"{before}{comma}{o}" for o in options if o.startswith(last)]

    return complete


Optimizer = Annotated[
    str,
    typer.Option(
        help=RULES + ".", rich_help_panel=_RULE, autocompletion=_completed(RULES)
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        help="Defaults of torch, optax or keras; what stays different is said.",
        rich_help_panel=_RULE,
        autocompletion=_completed("torch, optax, keras"),
    ),
]
Betas = Annotated[
    str | None,
    typer.Option(help="b1,b2 in one, as in .9,.95.", rich_help_panel=_RULE),
]
Initial = Annotated[
    float | None,
    typer.Option(
        help="What adagrad's accumulators hold at the start.", rich_help_panel=_RULE
    ),
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
    float | None,
    typer.Option(help="Of any rule, decoupled.", rich_help_panel=_RULE),
]
Momentum = Annotated[
    float | None,
    typer.Option(
        help="Of gd, sgd; of muon, signum, steepest it is b1.", rich_help_panel=_RULE
    ),
]
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
    bool | None,
    typer.Option("--nesterov", help="Of gd, sgd, muon.", rich_help_panel=_RULE),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Samples an update sees; all by default, for sgd 32.",
        rich_help_panel=_RUN,
    ),
]
Order = Annotated[
    str,
    typer.Option(help="cyclic, shuffled or replacement.", rich_help_panel=_RUN),
]
StepSize = Annotated[
    str | None,
    typer.Option(
        "--step-size",
        "--lr",
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

Cluster = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Address of a Ray cluster that makes the runs, or local for one of this "
        "machine.",
        rich_help_panel=_RUN,
    ),
]

OF_DATA: dict[str, tuple[Any, Any]] = {
    "data": (Data, "digits"),
    "target": (Target, None),
    "features": (Features, None),
    "classes": (Classes, None),
    "skip": (Skip, None),
    "rows": (Rows, None),
    "drop_missing": (DropMissing, False),
    "missing": (Missing, None),
    "one_hot": (OneHot, None),
    "decimal": (Decimal, "."),
    "scale": (Scale, None),
    "image": (Image, None),
    "standardize": (Standardize, False),
    "bias": (Bias, False),
    "loss": (Loss, "logistic"),
}
OF_RULE: dict[str, tuple[Any, Any]] = {
    "optimizer": (Optimizer, "adam"),
    "norm": (Norm, None),
    "like": (Like, None),
    "b1": (Decay, None),
    "b2": (Decay, None),
    "betas": (Betas, None),
    "eps": (Eps, None),
    "eps_inside": (EpsInside, None),
    "exponent": (Exponent, None),
    "bias_correction": (BiasCorrection, None),
    "weight_decay": (WeightDecay, None),
    "momentum": (Momentum, None),
    "initial": (Initial, None),
    "polar": (Polar, None),
    "nesterov": (Nesterov, None),
}
OF_RUN: dict[str, tuple[Any, Any]] = {
    "batch_size": (BatchSize, None),
    "order": (Order, "shuffled"),
    "step_size": (StepSize, None),
    "seed": (Seed, 0),
}

OF_TEST: dict[str, tuple[Any, Any]] = {"holdout": (Holdout, None)}

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


def load(given: Given) -> "pn.datasets.Dataset":
    """The data, from the options."""
    rows, one_hot = given["rows"], given["one_hot"]
    wanted = rows if rows in (None, "all") else whole("--rows", _float("--rows", rows))
    dataset = pn.datasets.load(
        given["data"],
        target=given["target"],
        features=given["features"],
        classes=None if given["classes"] is None else listed(given["classes"], str),
        skip=listed(given["skip"] or "", str),
        rows=wanted,
        drop_missing=given["drop_missing"],
        missing=listed(given["missing"] or "", str),
        one_hot=one_hot if one_hot == "all" else listed(one_hot or "", str),
        decimal=given["decimal"],
        scale=given["scale"],
        image=given["image"],
        seed=given["seed"],
    )
    if not given["standardize"]:
        return dataset
    rows = _parts(dataset, given)
    return dataset.standardized(None if rows is None else rows.train)


def _parts(dataset: "pn.datasets.Dataset", given: Given) -> "pn.datasets.Split | None":
    """Which rows `diagnose` will train on; None for all."""
    share = given.get("holdout")
    if share is None:
        return None
    return pn.datasets.split(dataset.labels, share, given["seed"])


def read(given: Given) -> "tuple[pn.datasets.Dataset, dict[str, Any]]":
    """The data, and the arguments of `diagnose` and `predict`, from the options."""
    dataset = load(given)
    rule = given["optimizer"]
    options = _rule_options(given)
    steps = step_size(given["step_size"])
    if given["like"] is not None:
        framework = pn.optimizers.like(given["like"], rule)
        options = {**framework.options, **options}
        steps = framework.step_size if steps is None else steps
        said = (f"{framework!r}.", *framework.differences)
        dataset = dataclasses.replace(dataset, notes=(*dataset.notes, *said))
    size, order = given["batch_size"], given["order"]
    parts = _parts(dataset, given)
    samples = dataset.samples if parts is None else len(parts.train)
    return dataset, {
        "problem": dataset.problem(pn.losses.read(given["loss"]), given["bias"]),
        "optimizer": pn.optimizers.read(rule, **options),
        "batching": pn.batching.of_rule(rule, samples, order)
        if size is None
        else pn.batching.read(size, order),
        "step_size": steps,
    }


def _rule_options(given: Given) -> dict[str, Any]:
    """The options of a rule that were given, under its own names for them."""
    named = (*pn.optimizers.OPTIONS, "weight_decay")
    options = {name: given[name] for name in named if given[name] is not None}
    if given["betas"] is not None:
        betas = listed(given["betas"], lambda text: _float("--betas", text))
        if len(betas) != 2:
            raise ValueError(
                f"--betas must be two numbers, as in .9,.95; got {given['betas']!r}."
            )
        both = [name for name in ("b1", "b2") if name in options]
        if both:
            raise ValueError(f"--betas and --{both[0]} say the same; give one of them.")
        options |= {"b1": betas[0], "b2": betas[1]}
    entry = pn.optimizers.OPTIMIZERS.get(given["optimizer"].strip().lower())
    takes = () if entry is None else entry[1]
    # of a rule with one memory, b1 is what people call momentum
    one_memory = "b1" in takes and not {"b2", "momentum"} & set(takes)
    if one_memory and "momentum" in options and "b1" not in options:
        options["b1"] = options.pop("momentum")
    return options


def step_size(text: str | None) -> Any:
    """A schedule; None for the default."""
    if text is None or text.strip().lower() == "auto":
        return None
    return pn.schedules.read(text)


def executor_at(address: str | None) -> "pn.executors.AbstractExecutor | None":
    """A Ray cluster by its address, or `local`; None for this process."""
    if address is None:
        return None
    return pn.executors.Ray(None if address == "local" else address)


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
        more = " or all" if name == "--rows" else ""
        raise ValueError(f"{name} must be a number{more}; got {text!r}.") from None
