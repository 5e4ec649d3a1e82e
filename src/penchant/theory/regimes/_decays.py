"""What theorems on Adam know of a rule: its decays and its ε."""

import equinox as eqx
import numpy as np

from penchant.optimizers import Character
from penchant.theory._prediction import Assumption, Verdict


class Decays(eqx.Module):
    r"""$\beta_1$, $\beta_2$ and $\varepsilon$, the last one as if outside the root.

    `eps_inside` says where it stands all the same: $\sqrt{v+\varepsilon^2}$ then.
    """

    b1: float = eqx.field(static=True)
    b2: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    eps_inside: bool = eqx.field(default=False, static=True)

    @classmethod
    def of(cls, what: Character) -> "Decays":
        """Those of a rule with a running second moment.

        Raises:
            ValueError: If the rule has none.
        """
        second = what.adaptive
        if second is None or second.kind != "mean":
            raise ValueError(f"a running second moment is needed; this is {what!r}.")
        b2 = float(np.asarray(second.decay))
        return cls(what.b1, b2, second.outside, second.eps_inside)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What theorems on Adam need of its decays."""
        b1, b2 = self.b1, self.b2
        why = f"b1 = {b1:g}, b2 = {b2:g}"
        if b1**2 > b2:
            why += "; b1² > b2 lets m/√v grow without bound, and early steps run away"
        return (
            Assumption(
                "b1 is at most b2", Verdict.HOLDS if b1 <= b2 else Verdict.FAILS, why
            ),
            Assumption(
                "ε is 0",
                Verdict.HOLDS if self.eps == 0 else Verdict.FAILS,
                f"ε = {self.eps:g} outside the root",
            ),
        )
