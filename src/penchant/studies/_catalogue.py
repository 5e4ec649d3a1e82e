"""The studies there are, in words: listing them runs and imports none."""

from typing import NamedTuple


class About(NamedTuple):
    """The title page of a study.

    Args:
        name: As on the command line; its folder is named alike, with underscores.
        sources: Keys of its papers, the one whose experiments they are first.
        title: Authors and year.
        summary: What it shows, in half a sentence.
    """

    name: str
    sources: tuple[str, ...]
    title: str
    summary: str

    @property
    def module(self) -> str:
        """Where its figures lie."""
        return f"penchant.studies.{self.name.replace('-', '_')}"


CATALOGUE: dict[str, About] = {
    about.name: about
    for about in (
        About(
            "per-sample-adam",
            ("baek2026persample",),
            "Baek, Song, Yun (2026)",
            "the limits of Adam and Signum for every batch size and order, "
            "predicted and run",
        ),
        About(
            "spectral-descent",
            ("fan2025spectral", "amsel2025polar", "jordan2024muon"),
            "Fan, Schmidt, Thrampoulidis (2025)",
            "normalised descent in many norms, the margins it reaches, how "
            "fast, and what practical Muon maximises",
        ),
        About(
            "homogeneous-networks",
            ("wang2021adaptive", "lyu2020gradient", "qian2019adagrad"),
            "Wang, Meng, Chen, Liu (2021)",
            "where adaptive methods lead homogeneous networks, certified at "
            "infinite time, and what ε and step sizes decide before",
        ),
        About(
            "ssm-poisoning",
            (
                "slutzky2025poisoned",
                "razin2022implicit",
                "geiping2021witches",
                "gu2022parameterization",
            ),
            "Slutzky, Alexander, Razin, Cohen (2025)",
            "sequences with clean labels that undo a state space model's bias "
            "to few poles, where that holds at the limit of training and where "
            "it is early stopping",
        ),
        About(
            "adam-sharpness",
            ("li2025sharpness", "li2022what"),
            "Li, Wen, Lyu (2025)",
            "which sharpness adaptive methods lower along their minimisers, on "
            "the slow clock, with ℓ1 and nuclear-norm baselines",
        ),
        About(
            "backward-error",
            ("cattaneo2024adam", "cattaneo2025memory"),
            "Cattaneo, Klusowski, Shigida (2024, 2025)",
            "which loss an optimizer's finite steps and memory descend, and "
            "where that can be said at all",
        ),
        About(
            "gradient-matching",
            (
                "rudoler2026estimating",
                "ali2019continuous",
                "barrett2021implicit",
                "wei2020implicit",
                "smith2021origin",
                "cattaneo2025memory",
            ),
            "Rudoler, Tan, Hooker, Kording (2026)",
            "which penalty acted on a run: elastic nets, early stopping, "
            "dropout, finite steps, averaging and decay, by exact estimators",
        ),
    )
}
"""The title pages, by name."""
