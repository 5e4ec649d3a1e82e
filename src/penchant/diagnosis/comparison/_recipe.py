"""A rule with its settings, from the words that people type."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx

from penchant import optimizers
from penchant._checks import check_instance
from penchant._types import StepSize
from penchant._words import read_number, read_whole
from penchant.optimizers import AbstractOptimizer
from penchant.training import batching as batches, schedules
from penchant.training.batching import AbstractBatching

_OWN = {
    "batch": "batch_size",
    "batch_size": "batch_size",
    "order": "order",
    "lr": "step_size",
    "step_size": "step_size",
    "step": "step_size",
    "like": "like",
}
_SHORT = {"wd": "weight_decay", "beta1": "b1", "beta2": "b2"}
_TEXT = ("norm", "polar")
_FLAGS = ("eps_inside", "bias_correction", "nesterov")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class Recipe(eqx.Module):
    """A rule under a name, with batches and step sizes where they are not the usual.

    `batching` None is every sample, and 32 of them for `sgd`; `step_size` None the one
    that suits the data. `notes` are what a reader must know of the settings.
    """

    name: str = eqx.field(static=True)
    optimizer: AbstractOptimizer
    word: str | None = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True, default=None)
    order: str = eqx.field(static=True, default="shuffled")
    step_size: Any = None
    notes: tuple[str, ...] = eqx.field(static=True, default=())

    def batching(self, samples: int) -> AbstractBatching:
        """The batches that it takes of so many samples."""
        if self.batch_size is not None:
            return batches.read(self.batch_size, self.order)
        return batches.of_rule(self.word, samples, self.order)


def read_recipes(
    given: Mapping[str, object] | Sequence[object] | str,
    *,
    batch_size: int | None = None,
    order: str = "shuffled",
    step_size: StepSize | None = None,
) -> tuple[Recipe, ...]:
    """Rules under their names: from text, a list of names or rules, or a mapping.

    Text is a name, with settings after a colon: `adam:eps=0,b2=.95`. Of several, also
    between commas: a part that has a `=` and no name before it belongs to the rule
    before. `batch`, `order`, `lr` and `like` are settings too.

    >>> [r.name for r in read_recipes("gd,adam:b2=.95,batch=1,muon")]
    ['gd', 'adam:b2=.95,batch=1', 'muon']

    Args:
        given: The rules.
        batch_size: Of rules that set none.
        order: Of rules that set none.
        step_size: Of rules that set none.

    Raises:
        TypeError: If something is no rule.
        ValueError: If a name or a setting is unknown, or two have the same name.
    """
    parts: list[tuple[str | None, object]]
    if isinstance(given, str):
        parts = [(None, part) for part in split(given)]
    elif isinstance(given, Mapping):
        parts = [(str(name), rule) for name, rule in given.items()]
    else:
        check_instance(
            "optimizers", given, Sequence, "a mapping of names to rules, or a list"
        )
        parts = [(None, rule) for rule in given]
    common = {"batch_size": batch_size, "order": order, "step_size": step_size}
    recipes = tuple(_recipe(name, rule, common) for name, rule in parts)
    if not recipes:
        raise ValueError("optimizers must name at least one rule; got none.")
    names = [recipe.name for recipe in recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"optimizers must have different names; {', '.join(twice)} comes twice. "
            "A mapping gives names of one's own."
        )
    return recipes


def split(text: str) -> list[str]:
    """Rules between commas or semicolons, each with the settings that follow it."""
    parts: list[str] = []
    for token in text.replace(";", ",").split(","):
        token = token.strip()
        before, equals, _ = token.partition("=")
        if equals and ":" not in before and parts:
            parts[-1] += f",{token}" if ":" in parts[-1] else f":{token}"
        elif token:
            parts.append(token)
    return parts


def _recipe(name: str | None, asked: object, common: dict[str, Any]) -> Recipe:
    if isinstance(asked, Recipe):
        return asked
    if not isinstance(asked, str):
        made = optimizers.read(asked)
        return Recipe(name or repr(made), made, None, **common)
    word, _, settings = asked.strip().partition(":")
    word = word.strip()
    options, own = _settings(word, settings)
    notes: tuple[str, ...] = ()
    if "like" in own:
        framework = optimizers.like(own.pop("like"), word)
        options = {**framework.options, **options}
        notes = framework.differences
        if framework.step_size is not None:
            own = {"step_size": framework.step_size, **own}
    made = optimizers.read(word, **options)
    return Recipe(
        name or asked.strip(), made, word.lower(), notes=notes, **{**common, **own}
    )


def _settings(word: str, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the rule, and what is about batches and steps."""
    options: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        key = _SHORT.get(key, key).replace("-", "_")
        if not equals and key not in _FLAGS:
            raise ValueError(
                f"settings of {word} are written name=value, as in adam:eps=0; got "
                f"{part!r}."
            )
        what = f"{key} of {word}"
        if key in _OWN:
            own[_OWN[key]] = _own(what, _OWN[key], value)
        elif key in _TEXT:
            options[key] = value
        elif key in _FLAGS:
            options[key] = _flag(what, value if equals else "true")
        elif key in (*optimizers.OPTIONS, "weight_decay"):
            options[key] = read_number(what, value)
        else:
            have = ", ".join((*optimizers.OPTIONS, *_OWN))
            raise ValueError(f"no setting {key!r} of {word}; have: {have}.")
    return options, own


def _own(what: str, kind: str, value: str) -> Any:
    if kind == "batch_size":
        return read_whole(what, value)
    return schedules.read(value) if kind == "step_size" else value


def _flag(what: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError(f"{what} must be yes or no; got {value!r}.")
