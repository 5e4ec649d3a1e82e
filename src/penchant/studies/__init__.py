"""Papers' figures and tables, as functions: one folder a paper.

A study is imported when it is first asked for, by name or as a module.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penchant.studies._catalogue import CATALOGUE as CATALOGUE, About as About
from penchant.studies._lines import Line as Line
from penchant.studies._papers import Paper as Paper
from penchant.studies._study import (
    Experiment as Experiment,
    Figure as Figure,
    Preset as Preset,
    Presets as Presets,
    Result as Result,
    Study as Study,
)

if TYPE_CHECKING:
    from penchant.studies import (
        adam_sharpness as adam_sharpness,
        backward_error as backward_error,
        gradient_matching as gradient_matching,
        homogeneous_networks as homogeneous_networks,
        per_sample_adam as per_sample_adam,
        spectral_descent as spectral_descent,
        ssm_poisoning as ssm_poisoning,
    )


class _Studies(Mapping[str, Study]):
    def __getitem__(self, name: str) -> Study:
        return importlib.import_module(CATALOGUE[name].module).STUDY

    def __iter__(self) -> Iterator[str]:
        return iter(CATALOGUE)

    def __len__(self) -> int:
        return len(CATALOGUE)


STUDIES: Mapping[str, Study] = _Studies()
"""The studies there are, by name; each is imported when it is looked up."""


def find(name: str) -> Study:
    """A study by its name.

    Raises:
        ValueError: If there is no such study; the message says which there are.
    """
    if name not in CATALOGUE:
        raise ValueError(f"no study {name!r}; have: {', '.join(CATALOGUE)}.")
    return STUDIES[name]


def __getattr__(name: str) -> Any:
    if name.replace("_", "-") in CATALOGUE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    folders = [name.replace("-", "_") for name in CATALOGUE]
    return sorted([*folders, *(name for name in globals() if name[0] != "_")])
