"""A PyTorch loop of one's own, watched: `python plain.py [FOLDER]`."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import penchant as pn

folder = sys.argv[1] if len(sys.argv) > 1 else "watched"

X, y = load_digits(return_X_y=True)
data = torch.utils.data.TensorDataset(
    torch.tensor(X / 16.0, dtype=torch.float32), torch.tensor(y)
)
torch.manual_seed(0)
loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=1e-3)


def loss(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x), y)


watch = pn.torch.watch(
    model, optimizer, loss=loss, batches=loader, folder=folder, total_steps=290
)
for _ in range(10):
    for batch in loader:
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
print(watch.finish())
