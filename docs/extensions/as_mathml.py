r"""Formulas become MathML at build time: the site needs no script and no font for them.

A Python-Markdown extension. It takes what `pymdownx.arithmatex` leaves, `\(…\)` and
`\[…\]`, has latex2mathml translate it, and mends what browsers, which implement MathML
Core, would set otherwise than TeX does. What can't be translated ends the build.
"""

import html
import itertools
import re
import unicodedata
from xml.etree import ElementTree as etree

from latex2mathml import exceptions
from latex2mathml.converter import convert_to_element
from latex2mathml.symbols_parser import convert_symbol
from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

OPENING, CLOSING, BARS = "([{⟨⌊⌈", ")]}⟩⌋⌉", "|‖"
SIGNS = "+−±∓"
ORDINARY = "∞∅⊤⊥∀∃∂∇"
"""Signs from the block of operators that are none."""

ACCENTS = {"^": "ˆ", "~": "˜", "¯": "¯", "→": "→", "˙": "˙"}
REFUSALS = tuple(e for e in vars(exceptions).values() if isinstance(e, type))
SCRIPTED = {"msub", "msup", "munder", "mover", "msubsup", "munderover"}
CHILDREN = dict.fromkeys(("mfrac", "msub", "msup", "munder", "mover", "mroot"), 2) | (
    dict.fromkeys(("msubsup", "munderover"), 3)
)
MISSED = {r"\arg": "arg"}
LIMITS = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
FUNCTIONS_WITH_LIMITS = ("arg", "inf", "lim", "max", "min", "sup")
LARGE = "∑∏∐⋃⋂⨁⨂"
THIN = "0.167em"


class UntranslatableError(ValueError):
    """A formula that latex2mathml does not know how to read."""


class AsMathML(Extension):
    """Registers the translation after inline patterns, which find formulas."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Join the processors of the tree."""
        md.treeprocessors.register(_Formulas(md), "as_mathml", 15)


def makeExtension(**options: object) -> AsMathML:
    """What Python-Markdown calls."""
    return AsMathML(**options)


class _Formulas(Treeprocessor):
    def run(self, root: etree.Element) -> None:
        found = [e for e in root.iter() if "arithmatex" in e.get("class", "").split()]
        for element in found:
            text = html.unescape(element.text or "").strip()
            display = text.startswith(r"\[")
            math = mathml(text[2:-2].strip(), display)
            element.text = None
            if display:
                element.append(math)  # in the box that scrolls
            else:
                element.tag, element.attrib = math.tag, math.attrib
                element[:] = list(math)


def mathml(tex: str, display: bool = False) -> etree.Element:
    r"""The `<math>` element of a formula.

    >>> etree.tostring(mathml(r"w_\infty\ge.5"), encoding="unicode")[:45]
    '<math><mrow><msub><mi>w</mi><mi>∞</mi></msub>'

    Raises:
        UntranslatableError: If a part of it is not understood.
    """
    if not _closed(tex):  # which latex2mathml would pass over
        raise UntranslatableError(f"can't read the formula {tex!r}: its braces.")
    try:
        math = convert_to_element(tex, display="block" if display else "inline")
    except REFUSALS as error:
        why = type(error).__name__
        raise UntranslatableError(f"can't read the formula {tex!r}: {why}.") from error
    _mend(math)
    for element in math.iter():
        count = CHILDREN.get(element.tag, len(element))
        strange = element.tag != "mtext" and re.search(r"[\\&#]", element.text or "")
        if strange or len(element) != count:
            raise UntranslatableError(
                f"can't read the formula {tex!r}"
                + (f", at {element.text!r}." if strange else ".")
            )
    math.attrib = {"display": "block"} if display else {}
    return math


def _closed(tex: str) -> bool:
    braces = re.findall(r"(?<!\\)(?:\\\\)*([{}])", tex)
    depths = itertools.accumulate(1 if brace == "{" else -1 for brace in braces)
    return min(depths, default=0) >= 0 and braces.count("{") == braces.count("}")


def _mend(element: etree.Element) -> None:
    """What MathML Core leaves to the author, TeX's way, in an element and below."""
    if element.text:
        element.text = html.unescape(element.text)
    for child in element:
        _mend(child)
    if element.tag in ("mi", "mo", "mn"):
        _mend_leaf(element)
    if element.tag == "mover" and len(element) == 2 and element[1].text in ACCENTS:
        element.set("accent", "true")
        element[1].text = ACCENTS[element[1].text]
        element[1].set("stretchy", "false")
    if element.tag in LIMITS and len(element) and _takes_limits(element[0]):
        element.tag = LIMITS[element.tag]  # below in a display, beside in a line
        element[0].set("movablelimits", "true")
    if element.tag in SCRIPTED and len(element) and "minsize" in element[0].attrib:
        row = etree.Element("mrow")  # only in a row does it grow to that size
        row.append(element[0])
        row[0].attrib |= {"stretchy": "true", "form": "postfix"}
        element[0] = row
    if element.tag == "mspace" and element.get("width", "").startswith("negative"):
        element.attrib = {"width": "0", "style": f"margin-left: -{THIN}"}
    if element.tag == "mtd" and "columnalign" in element.attrib:
        element.attrib = {"style": f"text-align: {element.get('columnalign')}"}
    if element.tag not in CHILDREN:
        _merge(element)
        _mend_row(list(element))


def _takes_limits(base: etree.Element) -> bool:
    text = (base.text or "").split("\u2009")[0]
    return base.tag == "mo" and (text in FUNCTIONS_WITH_LIMITS or text in (*LARGE,))


def _merge(row: etree.Element) -> None:
    r"""One word of letters set upright, as by `\mathrm`; one number of `.` and `5`."""
    for before, after in itertools.pairwise(list(row)):
        upright = before.tag == after.tag == "mi" and (
            before.get("mathvariant") == after.get("mathvariant") == "normal"
        )
        fraction = before.tag == "mo" and before.text == "." and after.tag == "mn"
        if upright or fraction:
            after.text = f"{before.text}{after.text}"
            row.remove(before)


def _mend_leaf(element: etree.Element) -> None:
    text = element.text or ""
    if text.startswith("\\"):  # left by \big, or not known to be a function
        code = convert_symbol(text)
        text = element.text = chr(int(code, 16)) if code else MISSED.get(text, text)
    if element.tag == "mi" and text in (*OPENING, *CLOSING):
        element.tag = "mo"
    if element.tag == "mo" and text in (*ORDINARY,):
        element.tag = "mi"
    if element.tag == "mi" and (text == "∇" or "Α" <= text <= "Ω"):
        element.set("mathvariant", "normal")
    style = element.attrib.pop("mathvariant", None)
    if style == "normal":
        if len(text) == 1:  # else upright anyhow
            element.set("mathvariant", "normal")
    elif style is not None:
        element.text = "".join(_styled(letter, style) for letter in text)
    if element.tag == "mi" and len(text) > 1 and text.isalpha() and style is None:
        element.tag = "mo"  # log: spaced by its neighbours, as max is


def _styled(letter: str, style: str) -> str:
    """A letter of an alphabet such as double-struck: in MathML Core, a character."""
    alphabet = style.upper()
    if style not in ("double-struck", "sans-serif"):
        alphabet = alphabet.replace("-", " ")
    name = re.sub(r"^(LATIN|GREEK) | LETTER", "", unicodedata.name(letter))
    for prefix in ("MATHEMATICAL ", ""):
        try:
            return unicodedata.lookup(f"{prefix}{alphabet} {name}")
        except KeyError:
            continue
    raise UntranslatableError(f"no {style} {letter!r} in Unicode")


def _mend_row(row: list[etree.Element]) -> None:
    """The forms of signs and bars, and the spaces about functions, by neighbours."""
    after_operand = False
    table = any(element.tag == "mtable" for element in row)
    for element, next_ in itertools.zip_longest(row, row[1:]):
        if element.tag == "mspace":
            continue
        core = element
        while core.tag in SCRIPTED and len(core):
            core = core[0]
        text = core.text or ""
        operand = core.tag != "mo" or text in (*CLOSING, "!")
        if core.tag == "mo" and text in (*OPENING, *CLOSING, *BARS):
            tall = table or "minsize" in core.attrib
            core.attrib.setdefault("stretchy", str(tall).lower())
        if core.tag == "mo" and text in (*SIGNS, *BARS):
            if not after_operand:
                core.set("form", "prefix")
            elif text in (*BARS,):
                core.set("form", "postfix")
                operand = True
        elif core.tag == "mo" and text in (".", "/"):
            core.set("lspace", "0")
            core.set("rspace", "0")
        elif core.tag == "mo" and text.replace("\u2009", "").isalpha():
            follows = next_ is not None and next_.text not in (*OPENING, *CLOSING)
            core.set("lspace", THIN if after_operand else "0")
            core.set("rspace", THIN if follows else "0")
        after_operand = operand
