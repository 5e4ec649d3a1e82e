"""Which solution does my optimizer pick, and why?"""

from penchant import _engine as _engine, norms as norms
