"""Python-Markdown extension: runs a notebook, and puts cells and results in a page.

`<!-- notebook: NAME.ipynb -->` on a line of its own becomes the notebook of that name
in the folder of the pages, run from top to bottom while the site is built. What a cell
prints, and what its last line gives, come after it: as HTML where the value has
`_repr_html_`, else as text. A cell that raises ends the build. No kernel and no network
take part, so that the file needs no results of its own, which would go stale.
"""

import ast
import contextlib
import functools
import html
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

DOCS = Path(__file__).parents[1]
MARK = re.compile(r"^<!-- notebook: (\w+\.ipynb) -->$")


class CellError(RuntimeError):
    """A cell of a notebook raised."""


def cells(path: Path) -> list[tuple[str, str]]:
    """Kind and source of each cell."""
    book = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]]


def run(source: str, names: dict[str, Any], where: str) -> tuple[str, object]:
    """What a cell prints, and the value of its last line if that is an expression.

    Raises:
        CellError: If the cell does.
    """
    tree = ast.parse(source, where)
    last = tree.body.pop() if tree.body else None
    if last is not None and not isinstance(last, ast.Expr):
        tree.body.append(last)
        last = None
    printed, value = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, where, "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    except Exception as error:
        raise CellError(f"{where}: {type(error).__name__}: {error}") from error
    return printed.getvalue(), value


def shown(value: object) -> str:
    """A value as a notebook shows it, in HTML."""
    if value is None:
        return ""
    if hasattr(value, "_repr_html_"):
        return str(value._repr_html_())
    return f"<pre>{html.escape(repr(value))}</pre>"


@functools.cache
def executed(path: Path) -> tuple[tuple[str, str, str], ...]:
    """Each cell: its kind, its source and its results in HTML, all in one namespace."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, (kind, source) in enumerate(cells(path), start=1):
            result = ""
            if kind == "code":
                printed, value = run(source, names, f"{path.name}, cell {number}")
                text = f"<pre>{html.escape(printed)}</pre>" if printed else ""
                result = text + shown(value)
            found.append((kind, source, result))
    return tuple(found)


class _Cells(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        found: list[str] = []
        for line in lines:
            mark = MARK.match(line)
            if mark is None:
                found.append(line)
                continue
            for kind, source, result in executed(DOCS / mark[1]):
                if kind == "markdown":
                    found += ["", *source.split("\n"), ""]
                    continue
                found += ["", "```python", *source.split("\n"), "```", ""]
                if result:
                    # stashed whole: Markdown must not read what is HTML already
                    block = f'<div class="result">{result}</div>'
                    found += ["", self.md.htmlStash.store(block), ""]
        return found


class AsNotebook(Extension):
    """Fills the marks in a page before anything else reads them."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the preprocessor: after whitespace, ahead of fences and raw HTML."""
        md.preprocessors.register(_Cells(md), "as_notebook", 28)


def makeExtension(**options: object) -> AsNotebook:
    """What Python-Markdown calls, by the module's name."""
    return AsNotebook(**options)
