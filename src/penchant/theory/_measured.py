"""Marks a prediction whose rule was measured, and not proved, to be what it is."""

import dataclasses
from typing import Any

from penchant.optimizers import FIELDS, AbstractOptimizer, Evidence
from penchant.theory._prediction import Assumption, Verdict


def marked(prediction: Any, rule: AbstractOptimizer) -> Any:
    """The prediction with one assumption more, if the rule's character was measured.

    The verdict is unknown: what a rule did on some gradients proves nothing of others.
    """
    what = rule.character()
    seen = [field for field in FIELDS if what.evidence[field] == Evidence.MEASURED]
    if not seen:
        return prediction
    assumption = Assumption(
        "the rule is what it was measured to be",
        Verdict.UNKNOWN,
        f"{', '.join(seen)} were read off its steps by penchant.identify, not proved",
    )
    return dataclasses.replace(
        prediction, assumptions=(*prediction.assumptions, assumption)
    )
