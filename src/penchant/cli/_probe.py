"""`penchant probe`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import penchant as pn
from penchant.cli._app import app, as_text, complain, told
from penchant.cli._options import Json


@app.command(epilog="Exit codes: 0 done · 2 bad input.")
def probe(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="What a probe wrote, also of a run that was killed."
        ),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[OTHER]", help="A second one: what differs is told."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a training run's steps did that nobody asked for, and write the report.

    The folder is what pn.torch.watch(…, folder=FOLDER) writes while a run goes on. The
    report is FOLDER/report.html. Of two folders the differences are told, and no report
    is written.

    [bold]Examples[/bold]

      penchant probe runs/a/probe

      penchant probe runs/a/probe runs/b/probe
    """
    with told(as_json):
        says = pn.diagnosis.reading(folder)
        if other is not None:
            found = pn.diagnosis.differences(says, pn.diagnosis.reading(other))
            _differences(found, folder, other, as_json)
            return
        page: Path | None = None
        try:
            page = says.save(folder)
        except OSError as error:
            complain(f"{folder} can't be written: {error.strerror or error}.")
    if as_json:
        print(as_text(says.to_dict()))  # noqa: T201
        return
    console = Console()
    console.print(f"\n[bold]{escape(says.headline)}[/bold]")
    for finding in says.findings:
        console.print(f"[yellow]![/yellow] {escape(str(finding))}", highlight=False)
    for line in repr(says).splitlines()[1:]:
        if not line.startswith("  !"):
            console.print(escape(line), highlight=False)
    if page is not None:
        console.print(f"\n{escape(str(page))}", soft_wrap=True)


def _differences(
    found: "list[pn.diagnosis.Difference]", a: Path, b: Path, as_json: bool
) -> None:
    if as_json:
        print(as_text([one.to_dict() for one in found]))  # noqa: T201
        return
    console = Console()
    if not found:
        console.print("No difference beyond three standard errors.")
        return
    table = Table(box=None)
    for name in ("what", str(a), str(b)):
        table.add_column(escape(name), overflow="fold")
    for one in found:
        table.add_row(escape(one.what), escape(one.first), escape(one.second))
    console.print(table)
