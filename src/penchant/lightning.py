"""For Lightning: `pn.lightning.Probe(…)` is a callback that watches a fit."""

from penchant.integrations.lightning import Probe as Probe
