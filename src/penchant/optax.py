"""For JAX with optax: `pn.optax.probe(tx)`, and `pn.optax.watch` beside the loop."""

from penchant.integrations.optax import (
    ProbeState as ProbeState,
    ProbeWarning as ProbeWarning,
    Watch as Watch,
    probe as probe,
    watch as watch,
)
