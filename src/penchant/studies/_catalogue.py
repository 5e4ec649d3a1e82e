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
            "robustness",
            (
                "frei2023double",
                "vardi2022gradient",
                "li2025feature",
                "min2024can",
                "haim2022reconstructing",
            ),
            "Frei, Vardi, Bartlett, Srebro (2023)",
            "ReLU networks on clusters that generalise and flip along one direction, "
            "at √(d/k) exactly, and what helps",
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
            "benign-overfitting",
            ("cao2021mixtures", "hsu2021proliferation"),
            "Cao, Gu, Belkin (2021)",
            "the risk of max margin on mixtures, foretold for any spectrum, flips "
            "and number of rows, when it is least squares, and when that is harmless",
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
        About(
            "geometries",
            ("fan2025spectral", "jordan2024muon", "loshchilov2019decoupled"),
            "Fan, Schmidt, Thrampoulidis (2025)",
            "what popular optimizers are, read off their steps as black boxes, and "
            "whether their runs maximise what that foretells",
        ),
    )
}
"""The title pages, by name."""
