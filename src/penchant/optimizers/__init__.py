"""Update rules as the papers define them, on gradients of any scale."""

from penchant.optimizers._adagrad import (
    AdaGrad as AdaGrad,
    accumulated_norm as accumulated_norm,
)
from penchant.optimizers._adam import Adam as Adam
from penchant.optimizers._adam_e import AdamE as AdamE
from penchant.optimizers._adam_mini import Adalayer as Adalayer, AdamMini as AdamMini
from penchant.optimizers._as_rule import as_rule as as_rule
from penchant.optimizers._base import AbstractOptimizer as AbstractOptimizer
from penchant.optimizers._character import (
    FIELDS as FIELDS,
    Blocks as Blocks,
    Character as Character,
    Divisor as Divisor,
    Evidence as Evidence,
    Grades as Grades,
    Memory as Memory,
)
from penchant.optimizers._from_optax import FromOptax as FromOptax
from penchant.optimizers._gradient_descent import GradientDescent as GradientDescent
from penchant.optimizers._like import (
    FRAMEWORKS as FRAMEWORKS,
    Framework as Framework,
    like as like,
)
from penchant.optimizers._lion import Lion as Lion
from penchant.optimizers._measured import (
    Described as Described,
    Measured as Measured,
)
from penchant.optimizers._muon import Muon as Muon
from penchant.optimizers._nadam import NAdam as NAdam
from penchant.optimizers._polar import (
    AbstractPolar as AbstractPolar,
    CubicNewtonSchulz as CubicNewtonSchulz,
    ExactPolar as ExactPolar,
    NewtonSchulz as NewtonSchulz,
    PolarExpress as PolarExpress,
)
from penchant.optimizers._read import (
    BATCHES as BATCHES,
    OPTIMIZERS as OPTIMIZERS,
    OPTIONS as OPTIONS,
    as_options as as_options,
    only as only,
    read as read,
    read_polar as read_polar,
)
from penchant.optimizers._rmsprop import RMSProp as RMSProp
from penchant.optimizers._shampoo import Shampoo as Shampoo
from penchant.optimizers._sign_descent import SignDescent as SignDescent
from penchant.optimizers._signum import Signum as Signum
from penchant.optimizers._steepest_descent import SteepestDescent as SteepestDescent
from penchant.optimizers._weight_decay import (
    AdamW as AdamW,
    WeightDecay as WeightDecay,
)
