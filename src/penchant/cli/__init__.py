"""The command line: `penchant diagnose | predict | studies | reproduce`."""

import contextlib
import hashlib
import json
import math
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import penchant as pn
from penchant.cli import _names as choices

BAD_INPUT, NOT_SEPARABLE, DISAGREES, INTERRUPTED = 2, 3, 4, 130

app = typer.Typer(
    name="penchant",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    help="Which solution does my optimizer pick, and why?\n\n"
    "Many weights fit the same training data. [bold]diagnose[/bold] trains a linear "
    "classifier on yours and says which of them your optimizer chose: the one with the "
    "largest margin in some norm, with a certificate, next to what theory foretells.",
    epilog="Start with:  penchant diagnose digits --optimizer adam --out report",
)

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
    typer.Option(help=", ".join(choices.OPTIMIZERS) + ".", rich_help_panel=_RULE),
]
Norm = Annotated[
    str | None,
    typer.Option(
        help="Of steepest: l1, l2, linf, lp:3, spectral, nuclear, schatten:1.5.",
        rich_help_panel=_RULE,
    ),
]
Decay = Annotated[float | None, typer.Option(rich_help_panel=_RULE)]
Momentum = Annotated[float | None, typer.Option(help="Of gd.", rich_help_panel=_RULE)]
Eps = Annotated[
    float | None,
    typer.Option(help="ε of adam, rmsprop, adagrad.", rich_help_panel=_RULE),
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


@app.command(
    epilog="Exit codes: 0 done · 2 bad input or options · 3 the data are not linearly "
    "separable (a report is written) · 4 with --check, theory is not confirmed · "
    "130 interrupted during training (a report of what was reached is written)."
)
def diagnose(
    context: typer.Context,
    data: Data = "digits",
    target: Target = None,
    classes: Classes = None,
    skip: Skip = None,
    rows: Rows = None,
    drop_missing: DropMissing = False,
    standardize: Standardize = False,
    bias: Bias = False,
    loss: Loss = "logistic",
    optimizer: Optimizer = "adam",
    norm: Norm = None,
    b1: Decay = None,
    b2: Decay = None,
    eps: Eps = None,
    eps_inside: EpsInside = None,
    bias_correction: BiasCorrection = None,
    momentum: Momentum = None,
    polar: Polar = None,
    nesterov: Nesterov = None,
    batch_size: BatchSize = None,
    order: Order = "shuffled",
    step_size: StepSize = None,
    steps: Annotated[
        float | None,
        typer.Option(
            help="Updates, as in 1e5. By default as many as fit the size of the data.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    norms: Annotated[
        str | None,
        typer.Option(
            help="Norms to compare, as in l2,linf. All usual ones by default.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path, typer.Option(help="Folder of the report.", rich_help_panel="Output")
    ] = Path("penchant-report"),
    check: Annotated[
        bool,
        typer.Option(
            help="Fail (exit code 4) unless the run confirms theory.",
            rich_help_panel="Output",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option(help="No progress.", rich_help_panel="Output")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train, and say which margin the optimizer picked.

    Writes DIR/report.html (open it in a browser), DIR/result.json and the trajectory.

    Two classes are labels ±1 with one weight a feature, where the norms to tell apart
    are ℓ1, ℓ2 and ℓ∞; more classes have a weight matrix, with the spectral and nuclear
    norm besides. A run that is cut off goes on where it stopped if started again.

    [bold]Examples[/bold]

      penchant diagnose digits --optimizer muon --out muon-report

      penchant diagnose iris.csv --target species --classes setosa,virginica

      penchant diagnose t10k-images-idx3-ubyte.gz --classes 0,1 --optimizer sign

      penchant diagnose data.npz --optimizer adam --eps 0 --step-size '0.1*t^-0.5'
    """
    with _told(as_json):
        dataset, setting = _read(context.params)
        compared = None if norms is None else _listed(norms, choices.named_norm)
        _writable(out)
        unfinished = out / f"unfinished-{_digest(context.params)}"
        says = pn.diagnose(
            **setting,
            steps=None if steps is None else _whole("--steps", steps),
            norms=compared,
            key=seed,
            progress=not (quiet or as_json),
            checkpoint=unfinished,
            about={
                "data": dataset.name,
                "labels": ", ".join(dataset.classes) or None,
                "seed": seed,
                "notes": list(dataset.notes),
                "command": "penchant " + shlex.join(sys.argv[1:]),
            },
        )
    page = says.save(out)
    finished = says.trajectory.outcome is not pn.training.Outcome.INTERRUPTED
    if finished:
        _forget(unfinished)
    if as_json:
        print(json.dumps(says.to_dict(), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _show(says, dataset, page)
    if not finished:
        raise typer.Exit(INTERRUPTED)
    if says.separable is False:
        raise typer.Exit(NOT_SEPARABLE)
    if check and says.agrees is not True:
        raise typer.Exit(DISAGREES)


@app.command(epilog="Exit codes: 0 done · 2 bad input · 3 not linearly separable.")
def predict(
    context: typer.Context,
    data: Data = "digits",
    target: Target = None,
    classes: Classes = None,
    skip: Skip = None,
    rows: Rows = None,
    drop_missing: DropMissing = False,
    standardize: Standardize = False,
    bias: Bias = False,
    loss: Loss = "logistic",
    optimizer: Optimizer = "adam",
    norm: Norm = None,
    b1: Decay = None,
    b2: Decay = None,
    eps: Eps = None,
    eps_inside: EpsInside = None,
    bias_correction: BiasCorrection = None,
    momentum: Momentum = None,
    polar: Polar = None,
    nesterov: Nesterov = None,
    batch_size: BatchSize = None,
    order: Order = "shuffled",
    step_size: StepSize = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Say what theory foretells, without training.

    Names the norm whose margin the direction of the weights tends to, the theorem,
    each of its assumptions with whether it holds for these data and settings, and the
    regimes on the way.
    """
    with _told(as_json):
        dataset, setting = _read(context.params)
        told = pn.predict(**setting)
    if as_json:
        print(json.dumps(told.to_dict(), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _notes(dataset)
        Console().print(escape(repr(told)), highlight=False)


@app.command()
def studies(as_json: Json = False) -> None:
    """List the papers whose figures and tables can be reproduced."""
    from penchant import studies as catalogue

    if as_json:
        listing = [
            {
                "name": s.name,
                "source": s.source,
                "title": s.title,
                "summary": s.summary,
                "figures": list(s.figures),
                "reads": list(s.reads),
            }
            for s in catalogue.STUDIES.values()
        ]
        print(json.dumps(listing, indent=2, ensure_ascii=False))  # noqa: T201
        return
    table = Table(box=None, header_style="bold")
    for heading in ("study", "paper", "what it reproduces"):
        table.add_column(heading)
    for study in catalogue.STUDIES.values():
        table.add_row(study.name, study.title, study.summary)
    console = Console()
    console.print(table)
    console.print("[dim]penchant reproduce STUDY runs one.[/dim]")


@app.command(
    epilog="Exit codes: 0 every number came out · 2 bad input · 4 some fell short."
)
def reproduce(
    study: Annotated[str, typer.Argument(help="A name from `penchant studies`.")],
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = Path(
        "penchant-study"
    ),
    figure: Annotated[
        str | None, typer.Option(help="One figure of the study; default all.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="quick (minutes) or full (all of it).")
    ] = "quick",
    data: Annotated[
        str | None,
        typer.Option(
            help="Real data for the figures that take any, as diagnose reads them."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the data.")] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress on stderr.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a paper's experiment again, and hold it against the numbers expected."""
    from penchant import studies as catalogue

    with _told(as_json):
        chosen = catalogue.find(study)
        real = None
        if data is not None:
            chosen.check_reads(figure)
            real = pn.datasets.load(data)
        _writable(out)
        result = chosen.run(
            seed=seed,
            preset=_preset(preset),
            figure=figure,
            data=real,
            out=out,
            report=None if quiet or as_json else _progress,
        )
    page = result.save(out)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        console = Console()
        console.print(escape(repr(result)), highlight=False)
        console.print(f"\nWritten to [bold]{escape(str(page))}[/bold]")
    if not result.passed:
        raise typer.Exit(DISAGREES)


def main() -> None:
    """Entry point of the `penchant` command."""
    app()


def _read(given: dict[str, Any]) -> tuple[pn.datasets.Dataset, dict[str, Any]]:
    """The data, and the arguments of `diagnose` and `predict`, from the options."""
    rows, classes, skip = given["rows"], given["classes"], given["skip"]
    wanted = rows if rows in (None, "all") else _whole("--rows", _float("--rows", rows))
    dataset = pn.datasets.load(
        given["data"],
        target=given["target"],
        classes=None if classes is None else _listed(classes, str),
        skip=() if skip is None else _listed(skip, str),
        rows=wanted,
        drop_missing=given["drop_missing"],
        seed=given["seed"],
    )
    if given["standardize"]:
        dataset = dataset.standardized()
    options = {name: given[name] for name in choices.OPTIONS}
    return dataset, {
        "problem": dataset.problem(choices.named_loss(given["loss"]), given["bias"]),
        "optimizer": choices.named_optimizer(given["optimizer"], options),
        "batching": choices.named_batching(given["batch_size"], given["order"]),
        "step_size": choices.named_step_size(given["step_size"]),
    }


def _preset(name: str) -> Any:
    from penchant.studies import Preset

    have = [preset.value for preset in Preset]
    if name not in have:
        raise ValueError(f"--preset must be one of {', '.join(have)}; got {name!r}.")
    return Preset(name)


def _progress(figure: str) -> None:
    Console(stderr=True).print(f"[dim]{figure} …[/dim]")


def _digest(given: dict[str, Any]) -> str:
    """What tells one unfinished run in a folder from another."""
    telling = {k: v for k, v in given.items() if k not in ("out", "quiet", "as_json")}
    return hashlib.sha256(repr(sorted(telling.items())).encode()).hexdigest()[:8]


def _listed(text: str, kind: Any) -> list[Any]:
    return [kind(part.strip()) for part in text.split(",") if part.strip()]


def _float(name: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{name} must be a number or all; got {text!r}.") from None


def _whole(name: str, value: float) -> int:
    if not (math.isfinite(value) and value == int(value) and value >= 1):
        raise ValueError(f"{name} must be a whole number of at least 1; got {value:g}.")
    return int(value)


def _writable(out: Path) -> None:
    """A folder that can't be written is better known before the run than after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / ".penchant"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"--out {out} can't be written: {error.strerror}.") from None


def _forget(unfinished: Path) -> None:
    (unfinished / "checkpoint.npz").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        unfinished.rmdir()


@contextlib.contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Reasons that lie in the input become a sentence and an exit code."""
    try:
        yield
    except pn.NotSeparableError as error:
        _stop(str(error), NOT_SEPARABLE, as_json)
    except (ValueError, TypeError, MemoryError) as error:
        _stop(str(error) or type(error).__name__, BAD_INPUT, as_json)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED, as_json)


def _stop(message: str, code: int, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": message}, ensure_ascii=False))  # noqa: T201
    else:
        Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(message)}")
    raise typer.Exit(code)


def _notes(dataset: pn.datasets.Dataset) -> None:
    console = Console(stderr=True)
    for note in dataset.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")


def _show(says: pn.Diagnosis, dataset: pn.datasets.Dataset, page: Path) -> None:
    _notes(dataset)
    console = Console()
    console.print(f"\n[bold]{escape(says.headline)}[/bold]")
    console.print(escape(says.explanation) + "\n", highlight=False)
    if len(says.table):
        console.print(escape(repr(says.table)) + "\n", highlight=False)
    for caution in says.warnings:
        console.print(
            f"[yellow]![/yellow] [bold]{escape(caution.headline)}[/bold] "
            f"{escape(caution.detail)}",
            highlight=False,
        )
    console.print(f"\nOpen [bold]{escape(str(page))}[/bold]")
