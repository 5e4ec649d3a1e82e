"""An explorer in the browser: points, weights and landscapes that one can touch."""

from penchant.explorer._code import code as code
from penchant.explorer._compute import Shown as Shown, compute as compute
from penchant.explorer._explore import explore as explore, state_of as state_of
from penchant.explorer._features import Features as Features
from penchant.explorer._figure import figure as figure, png as png, svg as svg
from penchant.explorer._landscapes import Landscape as Landscape
from penchant.explorer._presets import PRESETS as PRESETS, Preset as Preset
from penchant.explorer._server import serve as serve
from penchant.explorer._state import Point as Point, State as State
from penchant.explorer._weights import Weights as Weights
