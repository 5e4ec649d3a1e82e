import dataclasses
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penchant._plain import plain


@dataclasses.dataclass(frozen=True)
class Line:
    """One number held against what it should be."""

    what: str
    expected: float
    low: float
    high: float
    measured: float

    @property
    def passed(self) -> bool:
        """Whether the measured number lies in the range expected."""
        return self.low <= self.measured <= self.high


@dataclasses.dataclass(frozen=True)
class Result:
    """A study's lines and figures (inline SVG), and what was run, in words."""

    name: str
    title: str
    ran: str
    lines: tuple[Line, ...]
    figures: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every number came out."""
        return all(line.passed for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the figures, in types that JSON has."""
        lines = [{**dataclasses.asdict(x), "passed": x.passed} for x in self.lines]
        return plain({
            "study": self.name,
            "title": self.title,
            "ran": self.ran,
            "passed": self.passed,
            "lines": lines,
        })

    def save(self, folder: str | Path) -> Path:
        """Write `study.html` and `result.json`; the path of the page."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        page = folder / "study.html"
        page.write_text(self._page(), encoding="utf-8")
        return page

    def _page(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(line.what)}</td><td>{line.expected:.4g}</td>"
            f"<td>{line.low:.4g} to {line.high:.4g}</td><td>{line.measured:.4g}</td>"
            f"<td>{'✓' if line.passed else '✗ falls short'}</td></tr>"
            for line in self.lines
        )
        figures = "".join(
            f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"
            for caption, svg in self.figures.items()
        )
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style>"
            f"<main><h1>{html.escape(self.title)}</h1><p>{html.escape(self.ran)}</p>"
            f"{figures}<div><table><thead><tr><th>quantity</th><th>expected</th>"
            "<th>range</th><th>measured</th><th></th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div></main></html>\n"
        )

    def __repr__(self) -> str:
        width = max(len(line.what) for line in self.lines)
        lines = [
            f"  {'✓' if x.passed else '✗'} {x.what.ljust(width)}  {x.measured:<8.4g} "
            f"expected {x.expected:.4g} ({x.low:.4g} to {x.high:.4g})"
            for x in self.lines
        ]
        count = sum(line.passed for line in self.lines)
        head = f"{self.title}: {count} of {len(self.lines)} numbers came out"
        return "\n".join([head, f"  {self.ran}", *lines])


@dataclasses.dataclass(frozen=True)
class Study:
    """A paper whose experiments can be run again: `run(seed=0)` gives a `Result`."""

    name: str
    title: str
    summary: str
    run: Callable[..., Result]


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d22; --faint: #626871; --grid: #d9dce1;
 --paper: #fff; --c0: #996500; --c1: #0072b2; --c2: #bf5400; --c3: #00845f;
 --c4: #b3568a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --faint: #a0a7b2;
 --grid: #343941; --paper: #14161a; --c0: #f0b13a; --c1: #58b4ec; --c2: #ff8a4c;
 --c3: #35c79b; --c4: #e69fc4; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
 background: var(--paper); margin: 0; }
main { max-width: 50rem; margin: 0 auto; padding: 1rem; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; }
figure svg text { fill: var(--ink); } figcaption { color: var(--faint); }
div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem;
 border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; }
"""
