"""Random integrands of two variables with jumps at random curves, and their exact expectations by quadrature in numpy.

A gap is a polynomial of degree two in x whose coefficients depend on y and on parameters; conditions are gaps compared
with zero, and their conjunctions, disjunctions and negations; values are polynomials, glued by conditions and maxima.
"""

import numpy as np
from scipy import stats

NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
REACH = 9.0


class Program:
    """A random program: evaluated on jax or numpy arrays by handing over the module."""

    def __init__(self, seed):
        noise = np.random.default_rng(seed)
        self.gaps = []
        self.tree = self._value(noise, 2)

    def __call__(self, xp, x, y, theta):
        return self._evaluate(self.tree, xp, x, y, theta)

    def _value(self, noise, depth):
        kind = noise.choice(["where", "where", "step", "max"]) if depth else "leaf"
        if kind == "leaf":
            return ("leaf", np.round(noise.normal(size=4), 1).tolist())
        if kind == "step":
            return ("step", self._condition(noise, 1), self._value(noise, depth - 1))
        below = (self._value(noise, depth - 1), self._value(noise, depth - 1))
        if kind == "max":
            return ("max", *below)
        return ("where", self._condition(noise, 1), *below)

    def _condition(self, noise, depth):
        kind = noise.choice(["and", "or", "not", "gap"]) if depth else "gap"
        if kind == "gap":
            gap = np.round(noise.normal(size=5), 1)
            gap[3] *= noise.random() < 0.5
            self.gaps.append((gap.tolist(), int(noise.integers(2))))
            return ("gap", len(self.gaps) - 1, str(noise.choice(["lt", "le", "gt", "ge"])))
        if kind == "not":
            return ("not", self._condition(noise, 0))
        return (str(kind), self._condition(noise, 0), self._condition(noise, 0))

    def gap(self, index, x, y, theta):
        """p and q of a comparison: the two sides, so that both depend on the variables."""
        (a, b, c, d, e), which = self.gaps[index]
        return a + b * x + d * x * x + e * x * y, theta[2 + which] - c * y

    def _evaluate(self, node, xp, x, y, theta):
        def value(part):
            return self._evaluate(part, xp, x, y, theta)

        if node[0] == "leaf":
            a, b, c, d = node[1]
            return a + b * x + c * y + d * x * y * theta[3]
        if node[0] == "gap":
            p, q = self.gap(node[1], x, y, theta)
            return {"lt": p < q, "le": p <= q, "gt": p > q, "ge": p >= q}[node[2]]
        if node[0] == "not":
            return ~value(node[1])
        if node[0] in {"and", "or"}:
            left, right = value(node[1]), value(node[2])
            return left & right if node[0] == "and" else left | right
        if node[0] == "max":
            return xp.maximum(value(node[1]), value(node[2]))
        if node[0] == "step":
            return value(node[1]).astype(x.dtype) * value(node[2])
        return xp.where(value(node[1]), value(node[2]), value(node[3]))

    def roots(self, y, theta):
        """All x at which some gap is zero."""
        found = []
        for (a, b, c, d, e), which in self.gaps:
            polynomial = np.trim_zeros([d, b + e * y, a + c * y - theta[2 + which]], "f")
            candidates = np.roots(polynomial) if len(polynomial) > 1 else np.array([])
            found.extend(candidates.real[np.abs(candidates.imag) < 1e-12])
        return np.array(found)

    def exact(self, theta, points=600):
        """E[f(x, y)] for x ~ Normal(theta[0], theta[1]), y ~ Uniform(-1, 1.5)."""
        ys = -1 + 2.5 * (np.arange(points) + 0.5) / points
        return np.mean([self._given(y, theta) for y in ys])

    def _given(self, y, theta):
        low, high = theta[0] - REACH * theta[1], theta[0] + REACH * theta[1]
        cuts = np.concatenate([np.linspace(low, high, 9), np.clip(self.roots(y, theta), low, high)])
        cuts = np.sort(cuts)
        half = np.diff(cuts)[:, None] / 2
        x = cuts[:-1, None] + half * (1 + NODES)
        density = stats.norm.pdf((x - theta[0]) / theta[1]) / theta[1]
        return np.sum(half * WEIGHTS * density * self(np, x, y, theta))

    def slopes(self, theta, step=5e-3):
        """The derivatives of `exact`, by central differences."""
        theta = np.asarray(theta, float)
        units = step * np.eye(len(theta))
        return np.array([(self.exact(theta + unit) - self.exact(theta - unit)) / (2 * step) for unit in units])
