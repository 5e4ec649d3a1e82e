"""A stranger's rule, norm and problem through everything: train, predict, diagnose.

`python examples/strangers/run.py FOLDER` writes three reports into FOLDER.
"""

import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from norm import RowSum
from problem import Products
from rule import HalfSigns

import penchant as pn

out = Path(sys.argv[1] if len(sys.argv) > 1 else "strangers-report")
data = pn.datasets.class_centres(k=4, d=6, per_class=10, sigma=0.3, seed=0)
classes = data.problem(pn.losses.Logistic())

# the norm: its largest margin with a bound, steepest descent in it, a report
norm = RowSum()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", pn.margins.LooseMarginWarning)
    best = pn.max_margin(classes, norm)
descent = pn.optimizers.SteepestDescent(norm)
run = pn.train(classes, descent, steps=4_000, step_size=0.02)
seen = pn.certify(classes, run.last, norm)
print(best)
print(f"steepest descent in it has {float(seen.margin / best.margin):.1%} of that")
says = pn.diagnose(classes, descent, steps=4_000, step_size=0.02, norms=["l2", norm])
print(says.headline)
says.save(out / "norm")

# the rule: swept, foretold by what it registered, diagnosed
rule = HalfSigns()
swept = pn.sweep(
    classes, rule, grid={"step_size": [0.01, 0.02], "seed": [0, 1]}, steps=500
)
print(dict(swept.margin.sizes))
print(pn.predict(classes, rule).statement)
says = pn.diagnose(classes, rule, steps=3_000)
print(says.headline)
says.save(out / "rule")

# the problem: trained, foretold as a network is, continued to infinite time
rng = np.random.default_rng(0)
X = rng.normal(size=(8, 5))
y = np.sign(X[:, 0])
products = Products(jnp.asarray(X), jnp.asarray(y), pn.losses.Exponential())
grown = pn.optimizers.GradientDescent()
print(pn.predict(products, grown).norm)
swept = pn.sweep(products, grown, grid={"step_size": [0.05, 0.1]}, steps=200)
print(float(swept.log_loss.min()) < 0)
says = pn.diagnose(products, grown, steps=3_000, step_size=0.1)
print(says.headline)
says.save(out / "problem")
