"""For Hugging Face: `pn.huggingface.Probe(…)` is a callback of the Trainer."""

from penchant.integrations.huggingface import Probe as Probe
