"""What `help` shows in a terminal: words in place of formulae."""

import functools
import inspect
import re
import sys
from collections.abc import Iterable
from types import ModuleType

_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ",
    "varepsilon": "ε", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ",
    "sigma": "σ", "Sigma": "Σ", "tau": "τ", "phi": "φ", "Phi": "Φ", "psi": "ψ",
    "omega": "ω", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠",
    "in": "∈", "notin": "∉", "to": "→", "leftarrow": "←", "rightarrow": "→",
    "infty": "∞", "cdot": "·", "times": "×", "odot": "⊙", "sum": "Σ", "prod": "Π",
    "int": "∫", "nabla": "∇", "partial": "∂", "langle": "⟨", "rangle": "⟩",
    "|": "‖", "ell": "ℓ", "dots": "…", "ldots": "…", "cdots": "…", "approx": "≈",
    "propto": "∝", "pm": "±", "top": "ᵀ", "quad": "  ", "qquad": "   ", "circ": "∘",
    "min": "min", "max": "max", "arg": "arg ", "log": "log ", "exp": "exp ",
    "sin": "sin ", "sup": "sup ", "inf": "inf ", "lim": "lim ", "det": "det ",
    "tr": "tr ", "left": "", "right": "", "big": "", "Big": "", "bigl": "", "bigr": "",
    "displaystyle": "", "setminus": "∖", "subset": "⊂", "cup": "∪", "cap": "∩",
    "forall": "∀", "exists": "∃", "mid": "|", "sim": "~", "star": "*", "mapsto": "↦",
}  # fmt: skip

_FACES = "mathbb|mathbf|mathcal|mathrm|mathsf|text|operatorname|boldsymbol|bm|rm|bf"
_ACCENTS = {"hat": "̂", "bar": "̄", "tilde": "̃", "widehat": "̂", "overline": "̄"}
_POWERS = dict(zip("0123456789+-=()nit", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵗ", strict=True))
_INDICES = dict(
    zip("0123456789+-=()aeoxhklmnpstij", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₕₖₗₘₙₚₛₜᵢⱼ", strict=True)
)


def plain_formula(tex: str) -> str:
    r"""A formula in the letters that a terminal has.

    >>> plain_formula(r"w\leftarrow w-\eta\,\dfrac{m}{\sqrt v+\varepsilon}")
    'w ← w-η m/(√v+ε)'
    """
    text = re.sub(r"\\[,;:! ]", " ", tex)
    text = re.sub(rf"\\(?:{_FACES})\s*", " ", text)
    for name, accent in _ACCENTS.items():
        text = re.sub(rf"\\{name}\s*\{{?(\w)\}}?", rf"\1{accent}", text)
    group = r"\{([^{}]*)\}"
    before = None
    while before != text:
        before = text
        text = re.sub(rf"\\sqrt\s*{group}", lambda m: "√" + _wrapped(m[1]), text)
        text = re.sub(rf"\^\s*{group}", lambda m: _raised(m[1], "^", _POWERS), text)
        text = re.sub(rf"_\s*{group}", lambda m: _raised(m[1], "_", _INDICES), text)
        # one letter or digit needs no braces, nor do both
        either = r"(?:\{([^{}]*)\}|(\w))"
        parts = rf"\\[dt]?frac(?:\s+|(?=[\d{{])){either}\s*{either}"
        text = re.sub(parts, _fraction, text)
    text = re.sub(r"\\sqrt\s*", "√", text)
    arrows = r"\\(leftarrow|rightarrow|to|mapsto)\b"
    text = re.sub(arrows, lambda m: f" {_SYMBOLS[m[1]]} ", text)
    text = re.sub(r"\\([A-Za-z]+|\|)", lambda m: _SYMBOLS.get(m[1], m[1]), text)
    text = re.sub(r"\^(\w)", lambda m: _raised(m[1], "^", _POWERS), text)
    text = re.sub(r"_(\w)", lambda m: _raised(m[1], "_", _INDICES), text)
    text = text.replace("{", "").replace("}", "").replace("\\", "").replace("&", "")
    return re.sub(r" {2,}", " ", text).strip()


def _wrapped(inner: str) -> str:
    return inner if re.fullmatch(r"\\?\w+(?:_\w)?", inner.strip()) else f"({inner})"


def _fraction(found: re.Match[str]) -> str:
    over, under = (found[1] or found[2]), (found[3] or found[4])
    return f"{_wrapped(over)}/{_wrapped(under)}"


def _raised(inner: str, sign: str, letters: dict[str, str]) -> str:
    """A power or an index, in small letters where each has one."""
    inner = inner.strip()
    if inner and all(c in letters for c in inner):
        return "".join(letters[c] for c in inner)
    return f"{sign}{inner}" if len(inner) == 1 else f"{sign}({inner})"


def plain_text(doc: str) -> str:
    """A docstring with its formulae in letters, and no links."""
    doc = re.sub(r"\$\$(.+?)\$\$", lambda m: plain_formula(m[1]), doc, flags=re.DOTALL)
    doc = re.sub(r"\$([^$]+?)\$", lambda m: plain_formula(m[1]), doc)
    return re.sub(r"\[([^\[\]]+)\]\[[\w.]+\]", r"\1", doc)


_TIDIED: set[str] = set()


def tidy_all(folders: Iterable[str]) -> None:
    """Let `help` on the public names of what has been imported be read in a terminal.

    Texts are changed where they are shown, and only there: those of the documentation
    are read from the sources.
    """
    for folder in folders:
        module = sys.modules.get(f"penchant.{folder}")
        if module is None or folder in _TIDIED:
            continue
        if getattr(module.__spec__, "_initializing", False):
            continue  # its names are not there yet
        _TIDIED.add(folder)
        tidy(module)
        for inner in list(vars(module).values()):
            if isinstance(inner, ModuleType) and inner.__name__.startswith("penchant."):
                tidy(inner)


def tidy(module: ModuleType) -> None:
    """The classes and functions of one module."""
    for value in list(vars(module).values()):
        if getattr(value, "__module__", "").startswith("penchant"):
            _tidy(value)


def _tidy(value: object) -> None:
    if inspect.isclass(value):
        _words(value)
        for member in list(vars(value).values()):
            function = member
            if isinstance(member, (property, functools.cached_property)):
                _words(member)
                cached = isinstance(member, functools.cached_property)
                function = member.func if cached else member.fget
            function = getattr(function, "method", function)  # as equinox keeps them
            if inspect.isfunction(function):
                _words(function)
    elif inspect.isfunction(value):
        _words(value)


def _words(value: object) -> None:
    doc = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    if isinstance(doc, str) and ("$" in doc or "][" in doc):
        value.__doc__ = plain_text(doc)
