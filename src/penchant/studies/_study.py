import dataclasses
import enum
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import penchant as pn
from penchant._plain import plain


class Preset(enum.Enum):
    """How much a study does: what fits into a coffee, or all of it."""

    QUICK = "quick"
    FULL = "full"

    @property
    def quick(self) -> bool:
        """Whether this is the short one."""
        return self is Preset.QUICK


@dataclasses.dataclass(frozen=True)
class Line:
    """One number held against what it should be.

    `expected` is what theory predicts, or an independent implementation measured;
    `low` to `high` the range in which `measured` passes. `certificate` says how far
    the prediction itself is known: a gap, a residual, a standard error.
    """

    what: str
    expected: float
    low: float
    high: float
    measured: float
    certificate: str = ""

    @property
    def passed(self) -> bool:
        """Whether the measured number lies in the range expected."""
        return bool(self.low <= self.measured <= self.high)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure or table of a study: its pictures by caption, and its lines.

    `pictures` are inline SVG; a figure that is only a table has none.
    """

    lines: tuple[Line, ...]
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a study found: its figures by name, and what was run, in words."""

    name: str
    title: str
    ran: str
    parts: Mapping[str, Figure]

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines of all figures."""
        return tuple(line for part in self.parts.values() for line in part.lines)

    @property
    def figures(self) -> dict[str, str]:
        """All pictures (inline SVG) by their captions."""
        return {c: svg for p in self.parts.values() for c, svg in p.pictures.items()}

    @property
    def passed(self) -> bool:
        """Whether every number came out."""
        return all(line.passed for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, in types that JSON has."""
        lines = [
            {"figure": name, **dataclasses.asdict(line), "passed": line.passed}
            for name, part in self.parts.items()
            for line in part.lines
        ]
        return plain({
            "study": self.name,
            "title": self.title,
            "ran": self.ran,
            "passed": self.passed,
            "lines": lines,
        })

    def save(self, folder: str | Path) -> Path:
        """Write `study.html`, `result.json` and an SVG a picture; the page's path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        for name, part in self.parts.items():
            for i, svg in enumerate(part.pictures.values(), start=1):
                suffix = f"-{i}" if len(part.pictures) > 1 else ""
                picture = folder / f"{name}{suffix}.svg"
                picture.write_text(pn.pages.coloured(svg), encoding="utf-8")
        page = folder / "study.html"
        page.write_text(self._page(), encoding="utf-8")
        return page

    def _page(self) -> str:
        return pn.pages.render(
            "study.html.j2",
            title=self.title,
            ran=self.ran,
            parts=self.parts,
            papers=[],
        )

    def __repr__(self) -> str:
        count = sum(line.passed for line in self.lines)
        head = f"{self.title}: {count} of {len(self.lines)} numbers came out"
        text = [head, f"  {self.ran}"]
        width = max((len(line.what) for line in self.lines), default=0)
        for name, part in self.parts.items():
            text.append(f"  [{name}]")
            text += [
                f"  {'✓' if x.passed else '✗'} {x.what.ljust(width)}  "
                f"{x.measured:<9.4g} expected {x.expected:.4g} "
                f"({x.low:.4g} to {x.high:.4g})"
                + (f"; {x.certificate}" if x.certificate else "")
                + ("" if x.passed else "  FALLS SHORT")
                for x in part.lines
            ]
        return "\n".join(text)


Draw = Callable[..., Figure]
"""A function of preset and seed that runs one figure or table.

Those that a study names in `reads` take `data` besides, a `Dataset` or None.
"""


@dataclasses.dataclass(frozen=True)
class Study:
    """A paper whose experiments can be run again, figure by figure.

    `source` is the paper's key in the bibliography; `figures` are functions of the
    preset and the seed, by name. `reads` names those that can run on a user's data in
    place of what they draw themselves.
    """

    name: str
    source: str
    title: str
    summary: str
    figures: Mapping[str, Draw]
    reads: tuple[str, ...] = ()

    def run(
        self,
        *,
        seed: int = 0,
        preset: Preset = Preset.QUICK,
        figure: str | None = None,
        data: pn.datasets.Dataset | None = None,
        out: str | Path | None = None,
        report: Callable[[str], None] | None = None,
    ) -> Result:
        """Run all figures, or one of them.

        Args:
            seed: Of the data and the order of samples.
            preset: How much to do.
            figure: The name of one figure; None for all.
            data: Real data for the figures that take any (`reads`), such as
                `datasets.load` reads; the others run as ever.
            out: A folder to which results are written after each figure, so that
                what is interrupted has lost nothing.
            report: Called with the name of each figure as it starts.

        Raises:
            ValueError: If there is no such figure, or none of those wanted takes
                data; the message says which there are.
        """
        if figure is not None and figure not in self.figures:
            have = ", ".join(self.figures)
            raise ValueError(f"no figure {figure!r} in {self.name}; have: {have}.")
        wanted = list(self.figures) if figure is None else [figure]
        if data is not None:
            self.check_reads(figure)
        parts: dict[str, Figure] = {}
        ran = f"{self.summary[:1].upper()}{self.summary[1:]}. "
        ran += f"Preset {preset.value}, seed {seed}."
        if data is not None:
            read = ", ".join(name for name in wanted if name in self.reads)
            ran += f" {data.name} for {read}."
        result = Result(self.name, self.title, ran, {})
        for name in wanted:
            if report is not None:
                report(name)
            given = {"data": data} if name in self.reads else {}
            parts[name] = self.figures[name](preset, seed, **given)
            result = dataclasses.replace(result, parts=dict(parts))
            if out is not None:
                result.save(out)
        return result

    def check_reads(self, figure: str | None = None) -> None:
        """Refuse data for one figure, or for all, where nothing would read them.

        Raises:
            ValueError: If none takes data; the message says which there are.
        """
        if not self.reads:
            raise ValueError(f"{self.name} takes no data: all of it is synthetic.")
        if figure is not None and figure not in self.reads:
            have = ", ".join(self.reads)
            raise ValueError(
                f"figure {figure!r} of {self.name} takes no data; have: {have}."
            )
