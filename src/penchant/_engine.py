"""The one place where the numerical engine is set up.

Implicit bias is read off losses like $e^{-300}$ and off margins that agree to six
digits, so all of penchant computes in float64. JAX asks for that once, globally and
before the first array is made; importing penchant therefore switches the process to
64-bit JAX. Code that shares the process and wants float32 must ask for it by dtype.

Half of the time of a short command is compilation, of the same programs each time. The
command line keeps them in the user's cache folder; a Python process does where
`PENCHANT_CACHE` names a folder, since JAX then keeps its other programs there as well.

Importing penchant does not import JAX: that waits for the first name that needs it.
Where JAX is not there yet it is told by its environment variable, which processes
started from this one inherit.
"""

import os
import sys
from pathlib import Path

os.environ["JAX_ENABLE_X64"] = "1"
if "jax" in sys.modules:
    sys.modules["jax"].config.update("jax_enable_x64", True)

CACHE = "PENCHANT_CACHE"
"""Environment variable: a folder for compiled programs, or `off`."""

_JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"


def keep_programs() -> None:
    """Have JAX, which isn't imported yet, keep compiled programs between processes.

    In the folder that `PENCHANT_CACHE` names, else in the user's cache folder. A cache
    that JAX was told of already stays what it is.
    """
    folder = os.environ.get(CACHE, "")
    if folder == "off" or _JAX_CACHE in os.environ:
        return
    if not folder:
        import platformdirs

        folder = str(Path(platformdirs.user_cache_dir("penchant")) / "programs")
    os.environ[_JAX_CACHE] = folder
    # most are small, and compiling a hundred of them takes seconds
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


if os.environ.get(CACHE) and "jax" not in sys.modules:
    keep_programs()
