"""Python-Markdown extension: computes a preset of the explorer, and draws it in a page.

`<!-- preset: NAME -->` on a line of its own becomes that preset: its point as heading,
the picture and that of what it is held against, three sentences, the Python that makes
the numbers, run while the site is built, with what it prints, and the picture as a
slide. Nothing is kept between builds.
"""

import base64
import contextlib
import functools
import html
import io
import re
import warnings

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

MARK = re.compile(r"^<!-- preset: ([a-z-]+) -->$")


@functools.cache
def drawn(name: str) -> tuple[str, ...]:
    """The lines of a preset in Markdown; blocks of HTML are lines of their own."""
    from penchant import plotting
    from penchant.explorer import PRESETS, code, compute, figure, svg

    preset = PRESETS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = compute(preset.state)
        other = compute(preset.other)
        source = code(preset.state)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, f"preset {name}", "exec"), {"__name__": "__main__"})
    figures = [
        _figure(plotting.themed_svg(figure(one).axes[0], named), named)
        for one, named in ((shown, preset.this), (other, preset.that))
    ]
    slide = base64.b64encode(svg(shown)).decode()
    link = (
        f'<p><a download="{name}.svg" href="data:image/svg+xml;base64,{slide}">The '
        "first picture as a slide</a>, sixteen to nine. In the explorer: "
        f"<code>penchant explore --preset {name}</code>, or the address that ends in "
        f"<code>?preset={name}</code>.</p>"
    )
    result = f'<div class="result"><pre>{html.escape(printed.getvalue())}</pre></div>'
    return (
        f"## {preset.title} {{#{name}}}",
        "",
        " ".join(preset.says),
        "",
        *figures,
        "",
        link,
        "",
        "```python",
        *source.rstrip().split("\n"),
        "```",
        "",
        result,
        "",
    )


def _figure(svg: str, named: str) -> str:
    text = html.escape(named)
    return (
        f'<div class="result"><figure>{svg}<figcaption>{text}</figcaption></figure>'
        "</div>"
    )


class _Presets(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        found: list[str] = []
        for line in lines:
            mark = MARK.match(line)
            if mark is None:
                found.append(line)
                continue
            for made in drawn(mark[1]):
                # stashed whole: Markdown must not read what is HTML already
                block = made.startswith("<")
                found += ["", self.md.htmlStash.store(made), ""] if block else [made]
        return found


class AsPreset(Extension):
    """Fills the marks in a page before anything else reads them."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the preprocessor: after whitespace, ahead of fences and raw HTML."""
        md.preprocessors.register(_Presets(md), "as_preset", 28)


def makeExtension(**options: object) -> AsPreset:
    """What Python-Markdown calls, by the module's name."""
    return AsPreset(**options)
