"""A small GPT-2 in Hugging Face's Trainer, watched: `python with_trainer.py [FOLDER]`.

It learns the characters of a module of the standard library, from random weights.
"""

import inspect
import sys
import tempfile
import textwrap

import torch
import transformers

import penchant as pn

folder = sys.argv[1] if len(sys.argv) > 1 else "watched"

CONTEXT = 32
codes = torch.tensor([min(ord(c), 127) for c in inspect.getsource(textwrap)])
rows = codes[: len(codes) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
transformers.set_seed(0)
model = transformers.GPT2LMHeadModel(
    transformers.GPT2Config(
        vocab_size=128,
        n_positions=CONTEXT,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
)
with (
    tempfile.TemporaryDirectory() as scratch,
    pn.huggingface.Probe(folder=folder, probe_size=32) as probe,
):
    args = transformers.TrainingArguments(
        output_dir=scratch,
        max_steps=100,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    transformers.Trainer(
        model=model,
        args=args,
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        callbacks=[probe],
    ).train()
print(probe.says)
