"""Small models and loops that the tests of the probe share."""

import functools
import itertools

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy


@functools.cache
def digits():
    X, y = load_digits(return_X_y=True)
    return torch.tensor(X / 16.0, dtype=torch.float32), torch.tensor(y)


def loss(model, batch):
    x, y = batch
    return cross_entropy(model(x), y)


def mlp(*, width=16, extra=(), seed=0, dtype=torch.float32, activation=nn.ReLU):
    torch.manual_seed(seed)
    layers = [nn.Linear(64, width), *extra, activation(), nn.Linear(width, 10)]
    return nn.Sequential(*layers).to(dtype)


def loader(*, batch=32, n=512, seed=0):
    X, y = digits()
    made = torch.Generator().manual_seed(seed)
    data = torch.utils.data.TensorDataset(X[:n], y[:n])
    return torch.utils.data.DataLoader(
        data, batch_size=batch, shuffle=True, generator=made
    )


def endless(batches):
    for _ in itertools.count():
        yield from batches


def train(model, optimizer, batches, steps, *, of=loss, after=None):
    """A plain loop: the losses of its batches."""
    seen = []
    for _, batch in zip(range(steps), endless(batches), strict=False):
        optimizer.zero_grad()
        value = of(model, batch)
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
        if after is not None:
            after()
    return seen


def flat(model):
    return np.concatenate([
        p.detach().double().numpy().ravel() for p in model.parameters()
    ])


def named(recording, name, group=None):
    """Values of a record, in order."""
    return [
        line[name]
        for line in recording.records
        if line["group"] == group and name in line
    ]
