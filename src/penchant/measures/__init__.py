"""Numbers of a problem at some weights: curvature and noise, each with its error."""

from penchant.measures._bracket import Bracket as Bracket, bracket as bracket
from penchant.measures._estimate import Estimate as Estimate
from penchant.measures._gradient_noise import (
    GradientNoise as GradientNoise,
    gradient_noise as gradient_noise,
)
from penchant.measures._jackknife import (
    jackknife as jackknife,
    root_factor as root_factor,
    root_trace as root_trace,
)
from penchant.measures._lanczos import lanczos as lanczos, largest_ritz as largest_ritz
from penchant.measures._products import (
    DENSE as DENSE,
    gauss_newton as gauss_newton,
    hessian as hessian,
    hessian_product as hessian_product,
)
from penchant.measures._sharpness import (
    Sharpness as Sharpness,
    block_trace as block_trace,
    power_trace as power_trace,
    sharpness as sharpness,
)
