"""The one place where the numerical engine is set up.

Implicit bias is read off losses like $e^{-300}$ and off margins that agree to six
digits, so all of penchant computes in float64. JAX asks for that once, globally and
before the first array is made; importing penchant therefore switches the process to
64-bit JAX. Code that shares the process and wants float32 must ask for it by dtype.
"""

import jax

jax.config.update("jax_enable_x64", True)
