"""HTML pages: one template environment and one style sheet for all of them."""

from penchant.pages._card import card as card
from penchant.pages._numbers import number as number, percent as percent
from penchant.pages._render import (
    coloured as coloured,
    render as render,
    style as style,
)
