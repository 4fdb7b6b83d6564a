"""The PyTorch side of benchmarks/vae.py: a careful loop, data in memory, one epoch for every line on standard input."""

import sys
import time

import numpy as np
import torch
from torch import nn

BATCH, HIDDEN, LATENT, PIXELS = 128, 512, 16, 784


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.GELU("tanh"), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.GELU("tanh"), nn.Linear(HIDDEN, PIXELS))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = self.decoder(z)
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * torch.sum(mean**2 + log_variance.exp() - 1 - log_variance)
        return (cross_entropy + kl) / len(x)


def main():
    torch.manual_seed(0)
    data = torch.from_numpy(np.load(sys.argv[1])).float()
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True)

    def epoch():
        order = torch.randperm(len(data))
        for start in range(0, len(data) - BATCH + 1, BATCH):
            optimizer.zero_grad(set_to_none=True)
            model(data[order[start : start + BATCH]]).backward()
            optimizer.step()

    epoch()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        epoch()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
