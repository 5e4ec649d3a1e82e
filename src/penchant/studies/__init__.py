"""Papers' figures and tables, as functions: one folder a paper."""

from penchant.studies import (
    adam_sharpness as adam_sharpness,
    backward_error as backward_error,
    gradient_matching as gradient_matching,
    homogeneous_networks as homogeneous_networks,
    per_sample_adam as per_sample_adam,
    spectral_descent as spectral_descent,
    ssm_poisoning as ssm_poisoning,
)
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

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        per_sample_adam.STUDY,
        spectral_descent.STUDY,
        homogeneous_networks.STUDY,
        ssm_poisoning.STUDY,
        adam_sharpness.STUDY,
        backward_error.STUDY,
        gradient_matching.STUDY,
    )
}
"""The studies there are, by name."""


def find(name: str) -> Study:
    """A study by its name.

    Raises:
        ValueError: If there is no such study; the message says which there are.
    """
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}; have: {', '.join(STUDIES)}.")
    return STUDIES[name]
