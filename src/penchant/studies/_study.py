import dataclasses
import enum
import json
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import penchant as pn
from penchant._files import replacing_in, write_text
from penchant._plain import plain
from penchant.studies._lines import Line
from penchant.studies._papers import Paper


class Preset(enum.Enum):
    """How much a study does: what fits into a coffee, or all of it."""

    QUICK = "quick"
    FULL = "full"

    @property
    def quick(self) -> bool:
        """Whether this is the short one."""
        return self is Preset.QUICK


S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class Presets(Generic[S]):
    """How much of a figure each preset does, as values of the figure's own kind."""

    quick: S
    full: S

    def of(self, chosen: "Preset | S") -> S:
        """The sizes of a preset; sizes of a caller's own are what they are.

        >>> Presets(quick=100, full=10_000).of(Preset.FULL)
        10000
        >>> Presets(quick=100, full=10_000).of(7)
        7
        """
        if isinstance(chosen, Preset):
            return self.quick if chosen.quick else self.full
        return chosen


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure or table of a study: its pictures by caption, and its lines.

    `pictures` are inline SVG; a figure that is only a table has none. `title` and
    `see`, a sentence on what to look at, are filled in by the study that runs it.
    """

    lines: tuple[Line, ...]
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    title: str = ""
    see: str = ""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a study found: its figures by name, and what was run, in words."""

    name: str
    title: str
    ran: str
    parts: Mapping[str, Figure]
    papers: tuple[Paper, ...] = ()

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
            "papers": [dataclasses.asdict(paper) for paper in self.papers],
            "ran": self.ran,
            "passed": self.passed,
            "lines": lines,
        })

    def save(self, folder: str | Path) -> Path:
        """Write `study.html`, `result.json` and an SVG a picture; the page's path.

        Raises:
            OSError: If they can't be written; the folder is then as it was.
        """
        folder = Path(folder)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        with replacing_in(folder) as fresh:
            write_text(fresh / "result.json", text + "\n")
            for name, part in self.parts.items():
                for i, svg in enumerate(part.pictures.values(), start=1):
                    suffix = f"-{i}" if len(part.pictures) > 1 else ""
                    picture = fresh / f"{name}{suffix}.svg"
                    write_text(picture, pn.pages.coloured(svg))
            write_text(fresh / "study.html", self._page())
        return folder / "study.html"

    def _page(self) -> str:
        return pn.pages.render(
            "study.html.j2",
            study=self.name,
            title=self.title,
            ran=self.ran,
            parts=self.parts,
            papers=self.papers,
        )

    def __repr__(self) -> str:
        count = sum(line.passed for line in self.lines)
        text = _wrapped(
            f"{self.title}: {count} of {len(self.lines)} numbers came out", ""
        )
        for paper in self.papers:
            text += _wrapped(f"{paper} {paper.link or ''}".rstrip(), "  ")
        text += _wrapped(self.ran, "  ")
        for name, part in self.parts.items():
            text += _wrapped(f"[{name}] {part.title}".rstrip(), "  ")
            for x in part.lines:
                found = f"{x.measured:.4g}, expected {x.expected:.4g} ({x.range})"
                short = "" if x.passed else "  FALLS SHORT"
                text += _wrapped(f"{'✓' if x.passed else '✗'} {x.what}", "  ", "    ")
                text += _wrapped(found + short, "      ")
                text += _wrapped(x.certificate, "      ")
        return "\n".join(text)


def _wrapped(text: str, first: str, rest: str | None = None) -> list[str]:
    """The text in lines of a terminal's 80 columns."""
    return textwrap.wrap(
        text,
        width=79,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


Draw = Callable[..., Figure]
"""A function of preset and seed that runs one figure or table.

Those of an `Experiment` with `takes_data` take `data` besides, a `Dataset` or None.
"""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One figure or table that can be run again, and what a reader is to see in it.

    Args:
        draw: The function that runs it.
        title: A heading, without the name that the command line has for it.
        see: A sentence on what to look at.
        takes_data: Whether a user's data can take the place of what it draws itself.
    """

    draw: Draw
    title: str = ""
    see: str = ""
    takes_data: bool = False

    def __call__(self, *given: Any, **more: Any) -> Figure:
        """Run it; arguments are those of `draw`."""
        figure = self.draw(*given, **more)
        return dataclasses.replace(figure, title=self.title, see=self.see)


@dataclasses.dataclass(frozen=True)
class Study:
    """Experiments of one paper or several that can be run again, figure by figure.

    `sources` are the papers' keys in the bibliography, the one whose experiments they
    are first; `figures` are experiments by the names that the command line has.
    """

    name: str
    sources: tuple[str, ...]
    title: str
    summary: str
    figures: Mapping[str, Experiment]

    @property
    def source(self) -> str:
        """The key of the paper whose experiments these are."""
        return self.sources[0]

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The papers of all keys, as the bibliography has them."""
        return tuple(map(Paper.of, self.sources))

    @property
    def reads(self) -> tuple[str, ...]:
        """The figures that can run on a user's data, by name."""
        return tuple(name for name, x in self.figures.items() if x.takes_data)

    def run(
        self,
        *,
        seed: int = 0,
        preset: Preset = Preset.QUICK,
        figure: str | None = None,
        data: "pn.datasets.Dataset | None" = None,
        out: str | Path | None = None,
        report: Callable[[str], None] | None = None,
        executor: "pn.executors.AbstractExecutor | None" = None,
    ) -> Result:
        """Run all figures, or one of them.

        Args:
            seed: Of the data and the order of samples.
            preset: How much to do.
            figure: The name of one figure; None for all.
            data: Real data for the figures that take any (`reads`), such as
                `datasets.load` reads; the others run as ever.
            out: A folder to which results are written after each figure, so that
                what is interrupted has lost nothing. Where it can't be written there
                is a warning, and the other figures run.
            report: Called with the name of each figure as it starts.
            executor: Where figures are made, a task each, such as `executors.Ray()`;
                None for this process.

        Raises:
            ValueError: If there is no such figure, or none of those wanted takes
                data; the message says which there are.
            TypeError: If `executor` is none.
            RuntimeError: If a figure failed on the executor as often as is tried;
                others are in `out`.
        """
        by = pn.executors.Here() if executor is None else executor
        if not isinstance(by, pn.executors.AbstractExecutor):
            raise TypeError(
                f"executor must be one of penchant.executors; got {executor!r}."
            )
        if figure is not None and figure not in self.figures:
            have = ", ".join(self.figures)
            raise ValueError(f"no figure {figure!r} in {self.name}; have: {have}.")
        wanted = list(self.figures) if figure is None else [figure]
        if data is not None:
            self.check_reads(figure)
        parts: dict[str, Figure] = {}
        told = False
        ran = f"{self.summary[:1].upper()}{self.summary[1:]}. "
        ran += f"Preset {preset.value}, seed {seed}."
        if data is not None:
            read = ", ".join(name for name in wanted if name in self.reads)
            ran += f" {data.name} for {read}."
        result = Result(self.name, self.title, ran, {}, self.papers)
        tasks = _announced(wanted, report)
        for name, made in by.run(_made, (self.figures, preset, seed, data), tasks):
            parts[name] = made
            ordered = {name: parts[name] for name in wanted if name in parts}
            result = dataclasses.replace(result, parts=ordered)
            if out is not None:
                told = _kept(result, out, told)
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


def _announced(
    names: Sequence[str], report: Callable[[str], None] | None
) -> Iterator[str]:
    for name in names:
        if report is not None:
            report(name)
        yield name


def _made(
    shared: "tuple[Mapping[str, Experiment], Preset, int, pn.datasets.Dataset | None]",
    name: str,
) -> Figure:
    """A figure, in whichever process."""
    figures, preset, seed, data = shared
    experiment = figures[name]
    given = {"data": data} if experiment.takes_data else {}
    return experiment(preset, seed, **given)


def _kept(result: Result, out: str | Path, told: bool) -> bool:
    """Save what there is; whether the user knows by now that it can't be."""
    try:
        result.save(out)
    except OSError as error:
        if not told:
            warnings.warn(
                f"out: {out} can't be written: {error.strerror or error}. The study "
                "goes on.",
                stacklevel=3,
            )
        return True
    return told
