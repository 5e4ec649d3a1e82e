"""A Lightning module, watched: `python with_lightning.py [FOLDER]`."""

import sys

import pytorch_lightning as lightning
import torch
from sklearn.datasets import load_digits
from torch import nn

import penchant as pn

folder = sys.argv[1] if len(sys.argv) > 1 else "watched"


class Digits(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, i):
        return loss(self, batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loss(module, batch):
    x, y = batch
    return nn.functional.cross_entropy(module(x), y)


X, y = load_digits(return_X_y=True)
data = torch.utils.data.TensorDataset(
    torch.tensor(X / 16.0, dtype=torch.float32), torch.tensor(y)
)
loader = torch.utils.data.DataLoader(data, batch_size=64)
lightning.seed_everything(0)
probe = pn.lightning.Probe(loss=loss, folder=folder)
trainer = lightning.Trainer(
    max_steps=200,
    accelerator="cpu",
    precision="bf16-mixed",
    callbacks=[probe],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(Digits(), loader)
print(probe.says)
