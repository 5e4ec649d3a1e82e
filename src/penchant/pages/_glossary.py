"""The words of the pages, explained once: for the pages themselves and for the docs."""

import dataclasses
import html
import re
from collections.abc import Iterable

from markupsafe import Markup


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of the pages: what it means, and the forms in which it is found in text.

    Forms are looked for as whole words, case and all; none means by the name alone.
    """

    name: str
    meaning: str
    forms: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Where it stands on a page, as in `#word-largest-margin`."""
        return "word-" + re.sub(
            r"[^a-z0-9]+", "-", self.name.lower().replace("ε", "epsilon")
        ).strip("-")


WORDS = (
    Word(
        "margin",
        "How clearly a sample is classified: the score of its own class minus the "
        "largest other score, negative where it is misclassified. The margin of "
        "weights is the least over all samples, divided by the size of the weights, "
        "since doubling the weights doubles every score and changes no decision.",
        ("margin", "margins"),
    ),
    Word(
        "norm",
        "A way to measure the size of weights. ℓ1 is the sum of their absolute "
        "values, ℓ2 the root of the sum of squares, ℓ∞ the largest one. Of a matrix "
        "of weights, spectral is the largest singular value and nuclear the sum of "
        "them. Each norm calls other weights small, and so has another best "
        "classifier.",
        ("norm", "norms"),
    ),
    Word(
        "largest margin",
        "The largest margin that any weights of size 1 in a norm have on these data. "
        "It is computed, and certified from both sides. Weights that attain it are "
        "that norm's solution; which norm's solution training ends at is the question "
        "here.",
        ("largest margin", "largest margins", "best margin", "best margins"),
    ),
    Word(
        "share",
        "The margin of the weights over the largest margin in a norm. 100 % is that "
        "norm's solution. Shares of different norms can be compared; margins can't.",
        ("share", "shares"),
    ),
    Word(
        "certified",
        "Proved from both sides: weights that have the margin, and a weighing of the "
        "samples which shows that no weights have more than a stated bit above it.",
        ("certified", "certified to", "certificate"),
    ),
    Word(
        "alignment",
        "How nearly weights are those of least loss among all of their size in a "
        "norm, which is what a penalty on that norm would choose: 1 if exactly so, 0 "
        "if the loss would fall as well by shrinking them. It needs no long run, and "
        "data that no weights separate have it too.",
        ("alignment", "alignments"),
    ),
    Word(
        "own divisor",
        "The Euclidean norm in which each weight counts by what the optimizer divides "
        "its gradient by at the end of this run. It is read off the run, so that to "
        "be near it confirms no theory.",
        ("own divisor",),
    ),
    Word(
        "Mahalanobis",
        "A Euclidean norm in which features, or pairs of them, count by weights of "
        "their own. Those of AdaGrad, and of Adam on single samples, are what they "
        "divide by in the end, so that data and run choose the norm.",
        ("Mahalanobis",),
    ),
    Word(
        "increment",
        "What the second half of the run added to the weights. What stays bounded, "
        "such as the start, has dropped out of it; large steps show in it most.",
        ("increment",),
    ),
    Word(
        "cosine",
        "Of the angle between the last weights and the norm's solution: 1 is the same "
        "direction. It is shown where the solution is known to be the only one.",
        ("cosine",),
    ),
    Word(
        "separable",
        "Some weights classify every sample of the training data correctly. A run has "
        "separated the data once its own weights do.",
        ("separable", "separated", "separate"),
    ),
    Word(
        "regime",
        "A phase of a run, in which the optimizer acts like a simpler one. Adam's "
        "steps are sign-like while all gradients it remembers are alike, throttled "
        "while it still divides by earlier, larger ones, and those of gradient "
        "descent once gradients are below its ε. With few samples a step it is "
        "data-adaptive: it divides by the sizes of single batches' gradients.",
        ("regime", "phase", "throttled", "sign-like", "below ε", "data-adaptive"),
    ),
    Word(
        "limit",
        "Where the direction of the weights would go in a run without end. Theory "
        "names it under assumptions, and each is checked here: it holds, fails, or is "
        "unknown.",
        ("limit",),
    ),
    Word(
        "ε",
        "The small number that Adam and its like add to what they divide by. Once "
        "gradients are smaller, it decides the step, and the solution changes with "
        "it.",
        ("ε",),
    ),
    Word(
        "log-loss",
        "The natural logarithm of the training loss: −11 is a loss of e^−11.",
        ("log-loss",),
    ),
    Word(
        "VI gap",
        "How far a direction is from being a limit of Adam with single samples a step: "
        "the samples that weigh anything must all gain alike on it, and the gap is by "
        "how much they don't, 0 for a limit. VI is short for variational inequality.",
        ("VI gap",),
    ),
    Word(
        "KKT point",
        "A point where a margin can't be improved to first order. For a network it is "
        "what theory promises of the limit; it need not be the largest margin. The "
        "KKT gap and residual say how far weights are from one.",
        ("KKT point", "KKT points", "KKT gap", "KKT gaps", "KKT residual"),
    ),
)
"""In the order in which one explains the next."""

_BY_FORM = {form: word for word in WORDS for form in (word.forms or (word.name,))}
_FOUND = re.compile(
    r"(?<![\w-])("
    + "|".join(re.escape(form) for form in sorted(_BY_FORM, key=len, reverse=True))
    + r")(?![\w-])"
)
# x^-.5, 10^8, t^(1/L - 1); a schedule such as 0.1*t^-0.5 is typed as it stands
_POWER = re.compile(r"(?<!\*t)\^(\([^()]*\)|[-−]?[\w./]*\w)")


_PROGRAM = re.compile(r"\b(\d(?:\.\d+)?)e([+-]\d+)\b")


def _written(found: re.Match[str]) -> str:
    digits = "" if found[1] == "1" else f"{found[1]} × "
    return f"{digits}10^{int(found[2])}".replace("^-", "^−")


def raised(text: str) -> Markup:
    """The text as HTML, with powers raised in place of a caret."""
    return Markup(_POWER.sub(r"<sup>\1</sup>", html.escape(str(text))))


class Glossary:
    """The words of one page: links each at its first place, and knows which it met."""

    def __init__(self) -> None:
        self._met: dict[str, Word] = {}

    def link(self, text: str) -> Markup:
        """The text as HTML, each word linked where the page has it first."""
        return Markup(_FOUND.sub(self._linked, raised(text)))

    def link_numbers(self, text: str) -> Markup:
        """The same of text whose numbers are those of a program, as 4e-15."""
        return self.link(_PROGRAM.sub(_written, text))

    @property
    def met(self) -> Iterable[Word]:
        """The words that the page has used, in the order of the glossary."""
        return [word for word in WORDS if word.name in self._met]

    def _linked(self, found: re.Match[str]) -> str:
        word = _BY_FORM[found[0]]
        if word.name in self._met:
            return found[0]
        self._met[word.name] = word
        return f'<a class="word" href="#{word.anchor}">{found[0]}</a>'
