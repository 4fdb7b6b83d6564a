"""The PyTorch side of benchmarks/vae.py: a careful loop, data on the device; some steps for each line it reads."""

import json
import math
import sys
import time

import numpy as np
import torch
from torch import nn

HIDDEN, LATENT, CHANNELS = 512, 16, (32, 64)
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def perceptron(shape):
    size = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, HIDDEN), nn.GELU("tanh"), nn.Linear(HIDDEN, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.GELU("tanh"), nn.Linear(HIDDEN, size), nn.Unflatten(1, shape))
    return encoder, decoder


def convolutional(shape):
    """Two 4x4 convolutions of stride 2, and the transposed ones."""
    channels, rows, columns = shape
    first, second = CHANNELS
    inner = (second, rows // 4, columns // 4)
    encoder = nn.Sequential(
        nn.Conv2d(channels, first, 4, 2, 1), nn.GELU("tanh"), nn.Conv2d(first, second, 4, 2, 1), nn.GELU("tanh"),
        nn.Flatten(), nn.Linear(math.prod(inner), 2 * LATENT),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(LATENT, math.prod(inner)), nn.GELU("tanh"), nn.Unflatten(1, inner),
        nn.ConvTranspose2d(second, first, 4, 2, 1), nn.GELU("tanh"), nn.ConvTranspose2d(first, channels, 4, 2, 1),
    )  # fmt: skip
    return encoder, decoder


class VAE(nn.Module):
    def __init__(self, network, shape, precision):
        super().__init__()
        self.encoder, self.decoder = {"mlp": perceptron, "convolutional": convolutional}[network](shape)
        self.precision = precision

    def forward(self, x):
        with torch.autocast(x.device.type, TYPES[self.precision], enabled=self.precision != "float32"):
            mean, log_variance = self.encoder(x).chunk(2, dim=1)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            logits = self.decoder(z)
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits.float(), x, reduction="sum")
        mean, log_variance = mean.float(), log_variance.float()
        kl = 0.5 * torch.sum(mean**2 + log_variance.exp() - 1 - log_variance)
        return (cross_entropy + kl) / len(x)


def captured(one, batch):
    """A step as a CUDA graph, as PyTorch's documentation describes it: a few steps on another stream come first."""
    seen, stream = batch.clone(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            one(seen)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one(seen)

    def step(batch):
        seen.copy_(batch)
        graph.replay()

    return step


def main():
    file, network, batch, mode, device, precision = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    data = torch.from_numpy(np.load(file)).permute(0, 3, 1, 2).contiguous().float().to(device)
    model = VAE(network, tuple(data.shape[1:]), precision).to(device)
    on_gpu = device == "cuda"
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True, capturable=on_gpu)
    loss = model if mode == "eager" or mode == "graph" else torch.compile(model)

    def one(x):
        optimizer.zero_grad(set_to_none=mode != "graph")
        loss(x).backward()
        optimizer.step()

    step = captured(one, data[:batch]) if mode == "graph" else one

    def steps(count):
        order = torch.randperm(len(data), device=device)
        for number in range(count):
            start = number * batch % (len(data) - batch + 1)
            step(data[order[start : start + batch]])
        if on_gpu:
            torch.cuda.synchronize()

    steps(5)
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        steps(int(line))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
