"""`penchant identify`."""

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

import penchant as pn
from penchant.cli._app import app, as_text, note, told, written
from penchant.cli._options import Json


@app.command(epilog="Exit codes: 0 done · 2 bad input · 5 a part is unknown.")
def identify(
    rule: Annotated[
        str,
        typer.Argument(
            metavar="RULE",
            help="A file and a name in it, as in my_rule.py:Rule, or a rule of "
            "penchant by its name.",
        ),
    ],
    shape: Annotated[
        str, typer.Option(help="Of the weights it is tried on, as in 64,32.")
    ] = "16,8",
    like: Annotated[
        str | None,
        typer.Option(
            help="torch: the name is a class that is made with parameters and stepped."
        ),
    ] = None,
    key: Annotated[int, typer.Option(help="Seed of the gradients.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the page and the numbers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what an update rule is, by what it does.

    Names the norm in which its steps are steepest and how far they are from that, its
    memories and their constants, what ε and weight decay do, and which parts are
    unknown. The file may hold an optax transformation, a torch optimizer class,
    functions (init, update), an update alone, or a function without arguments that
    returns one of these.

    [bold]Examples[/bold]

      penchant identify my_rule.py:Rule --shape 64,32

      penchant identify my_torch.py:Rule --like torch --out report
    """
    with told(as_json):
        axes = _shape(shape)
        made = _load(rule, like)
        found = pn.identify(made, shape=axes, key=key, like=like)
        page = None if out is None else written(found, out)
    if as_json:
        print(as_text(found.to_dict()))  # noqa: T201
    else:
        Console().print(escape(repr(found)), highlight=False)
        if page is not None:
            note(f"written: {page}")
    if any(found.evidence[field] == "unknown" for field in pn.optimizers.FIELDS):
        raise typer.Exit(5)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise ValueError(
            f"--shape must be whole numbers, as in 64,32; got {text!r}."
        ) from None


def _load(rule: str, like: str | None) -> Any:
    """What a name in a file stands for, or a rule's name.

    Raises:
        ValueError: If there is none, or its file can't be run.
    """
    place, colon, name = rule.rpartition(":")
    if not colon:
        if rule.endswith(".py"):
            raise ValueError(f"name what {rule} has, as in {rule}:Rule.")
        return pn.optimizers.read(rule)
    path = Path(place)
    if not path.is_file():
        raise ValueError(f"no file {place}; give FILE.py:NAME.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{place} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's file
        raise ValueError(
            f"{place} can't be imported: {type(error).__name__}"
            + (f" ({error})." if str(error) else ".")
        ) from None
    finally:
        sys.path.remove(str(path.resolve().parent))
    if not hasattr(module, name):
        have = [n for n in vars(module) if not n.startswith("_")]
        raise ValueError(f"{place} has no {name}; it has: {', '.join(have)}.")
    return _made(getattr(module, name), name, like)


def _made(value: Any, name: str, like: str | None) -> Any:
    """The rule itself, where the name is of what makes one."""
    if like is not None or not callable(value):
        return value
    torch_like = "torch.optim" in {
        k.__module__[:11] for k in inspect.getmro(type(value))
    }
    is_class = inspect.isclass(value)
    if torch_like or (
        is_class and any("torch.optim" in k.__module__ for k in value.__mro__)
    ):
        return value
    try:
        wanted = [
            p
            for p in inspect.signature(value).parameters.values()
            if p.default is p.empty
            and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return value
    if wanted:
        if is_class:
            raise ValueError(
                f"{name} needs arguments ({', '.join(p.name for p in wanted)}); give a "
                "function without any that returns the rule."
            )
        return value
    try:
        return value()
    except Exception as error:  # noqa: BLE001 - a stranger's code raises what it likes
        raise ValueError(f"{name}() raised {type(error).__name__} ({error}).") from None
