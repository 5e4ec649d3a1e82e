"""`penchant studies` and `penchant reproduce`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import penchant as pn
from penchant._files import held
from penchant.cli._app import BAD_INPUT, DISAGREES, app, as_text, told, written
from penchant.cli._options import Cluster, Json, executor_at


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
        print(as_text(listing))  # noqa: T201
        return
    table = Table(box=None, header_style="bold")
    for heading in ("study", "paper", "what it reproduces"):
        table.add_column(heading)
    for about in catalogue.CATALOGUE.values():
        table.add_row(about.name, about.title, about.summary)
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
    ray: Cluster = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress on stderr.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a paper's experiment again, and hold it against the numbers expected."""
    from penchant import studies as catalogue

    with told(as_json):
        chosen = catalogue.find(study)
        real = None
        if data is not None:
            chosen.check_reads(figure)
            real = pn.datasets.load(data)
        wanted = _preset(preset)
        shown = not (quiet or as_json)
        with held("--out", out), pn.training.Stages(shown) as stages:
            result = chosen.run(
                seed=seed,
                preset=wanted,
                figure=figure,
                data=real,
                out=out,
                report=stages,
                executor=executor_at(ray),
            )
            stages.close()
            if as_json:
                print(as_text(result.to_dict()))  # noqa: T201
            else:
                Console().print(escape(repr(result)), highlight=False)
            page = written(result, out)
    if page is None:
        raise typer.Exit(BAD_INPUT)
    if not as_json:
        Console().print(f"\nWritten to [bold]{escape(str(page))}[/bold]")
    if not result.passed:
        raise typer.Exit(DISAGREES)


def _preset(name: str) -> Any:
    from penchant.studies import Preset

    have = [preset.value for preset in Preset]
    if name not in have:
        raise ValueError(f"--preset must be one of {', '.join(have)}; got {name!r}.")
    return Preset(name)
