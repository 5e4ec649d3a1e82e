"""The one place where the numerical engine is set up.

Implicit bias is read off losses like $e^{-300}$ and off margins that agree to six
digits, so all of penchant computes in float64. JAX asks for that once, globally and
before the first array is made; importing penchant therefore switches the process to
64-bit JAX. Code that shares the process and wants float32 must ask for it by dtype.

Importing penchant does not import JAX: that waits for the first name that needs it.
Where JAX is not there yet it is told by its environment variable, which processes
started from this one inherit.
"""

import os
import sys

os.environ["JAX_ENABLE_X64"] = "1"
if "jax" in sys.modules:
    sys.modules["jax"].config.update("jax_enable_x64", True)
