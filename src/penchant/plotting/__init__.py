"""Figures from results, with matplotlib, which is imported when one is drawn."""

from penchant.plotting._bars import (
    alignment_bars as alignment_bars,
    ratio_bars as ratio_bars,
)
from penchant.plotting._chosen import (
    interval_dots as interval_dots,
    plane as plane,
    sample_pictures as sample_pictures,
    weight_bars as weight_bars,
    weight_pictures as weight_pictures,
)
from penchant.plotting._curves import (
    ORDER as ORDER,
    curves as curves,
    regions as regions,
)
from penchant.plotting._panels import ratio_panels as ratio_panels
from penchant.plotting._paths import (
    DEEP as DEEP,
    excess_path as excess_path,
    loss_path as loss_path,
    ratio_paths as ratio_paths,
)
from penchant.plotting._style import (
    colour as colour,
    house_style as house_style,
    own_axes as own_axes,
)
from penchant.plotting._svg import themed_svg as themed_svg
