"""A probe of a training loop in JAX with optax; optax is imported with this folder."""

try:
    import optax as _optax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "penchant.optax needs optax: pip install 'penchant[flax]'."
    ) from error

from penchant.integrations._record import ProbeWarning as ProbeWarning
from penchant.integrations.optax._probe import ProbeState as ProbeState, probe as probe
from penchant.integrations.optax._watch import Watch as Watch, watch as watch
