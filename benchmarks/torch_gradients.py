"""The PyTorch side of benchmarks/gradients.py: one timed value-and-gradient for every case named on standard input."""

import sys
import time

import torch
from torch import distributions as dist


def cases(n):
    generator = torch.Generator().manual_seed(0)
    mixed = torch.exp(torch.empty(n).uniform_(-3.0, 6.9, generator=generator))
    return {
        "Normal": ([torch.tensor(0.3), torch.tensor(1.2)], lambda m, s: dist.Normal(m, s), (n,)),
        "Gamma(2)": ([torch.tensor(2.0)], lambda a: dist.Gamma(a, torch.ones(())), (n,)),
        "Gamma, mixed shapes": ([mixed], lambda a: dist.Gamma(a, torch.ones(())), ()),
        "Beta(2, 3)": ([torch.tensor(2.0), torch.tensor(3.0)], dist.Beta, (n,)),
        "Beta, mixed shapes": ([mixed, mixed.flip(0)], dist.Beta, ()),
        "Dirichlet(0.7 x 10)": ([torch.full((10,), 0.7)], dist.Dirichlet, (n // 10,)),
        "StudentT(8)": ([torch.tensor(8.0)], lambda df: dist.StudentT(df, torch.zeros(()), torch.ones(())), (n,)),
    }


def main():
    torch.set_num_threads(2)
    n = int(sys.argv[1])
    table = cases(n)
    print("ready", flush=True)
    for line in sys.stdin:
        parameters, family, shape = table[line.strip()]
        leaves = [parameter.clone().requires_grad_() for parameter in parameters]
        start = time.perf_counter()
        (family(*leaves).rsample(shape) ** 2).sum().backward()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
