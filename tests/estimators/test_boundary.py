"""Jumps whose place depends on parameters: derivatives against closed forms, quadrature, and random programs."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

import reparax as rx
from reparax.errors import InvalidEstimator

from ..monte_carlo import many, z_score
from .piecewise import Program


def slopes(exact, theta, step=1e-4):
    """The derivatives of a function of numpy arrays, by central differences: parameters last."""
    theta = np.asarray(theta, float)
    units = step * np.eye(len(theta))
    return np.stack([(exact(theta + unit) - exact(theta - unit)) / (2 * step) for unit in units], axis=-1)


def estimate(f, make, theta, key, num_samples=1):
    return rx.expectation(lambda z: f(z, theta), make(theta), key=key, num_samples=num_samples, estimator="boundary")


def check(f, make, exact, theta, repeats=1000):
    """Every entry of the Jacobian within 5 standard errors, and what is exactly constant to 1e-4."""
    found = np.asarray(many(lambda key: jax.jacrev(lambda t: estimate(f, make, t, key))(theta), repeats), np.float64)
    wanted = slopes(exact, theta)
    assert not np.any(np.isnan(found))
    error = np.hypot(found.std(axis=0, ddof=1) / np.sqrt(repeats), 2e-5 * (1 + np.abs(wanted)))
    assert np.max(np.abs(found.mean(axis=0) - wanted) / error) < 5
    return found


def step(condition):
    return jnp.where(condition, 1.0, 0.0)


def test_one_step_of_every_family():
    theta = jnp.array([0.3, 1.2, 0.7, -0.5, 1.4, 0.4, 1.3, 0.9, 0.2, 0.8, -0.6, 0.5, 1.4])

    def make(t):
        factor = jnp.diag(jnp.stack([t[1], t[9]])) + jnp.diag(t[11:12], -1)
        return {
            "normal": dist.Normal(t[0], t[1]), "uniform": dist.Uniform(t[3], t[4]),
            "exponential": dist.Exponential(t[6]), "laplace": dist.Laplace(t[8], t[9]),
            "multivariate": dist.MultivariateNormal(t[:2], scale_tril=factor), "log-normal": dist.LogNormal(t[0], t[9]),
        }  # fmt: skip

    def f(z, t):
        return jnp.stack([
            step(z["normal"] > t[2]), step(t[5] >= z["uniform"]), step(z["exponential"] <= t[7]),
            step(t[10] < z["laplace"]), step(z["multivariate"][0] + 2 * z["multivariate"][1] > t[12]),
            jnp.where(1 / z["log-normal"] > 1 / t[12], z["log-normal"], 0.0),
        ])  # fmt: skip

    def exact(t):
        spread = np.hypot(t[1] + 2 * t[11], 2 * t[9])
        below = stats.norm.cdf((np.log(t[12]) - t[0] - t[9] ** 2) / t[9])
        return np.array([
            stats.norm.sf(t[2], t[0], t[1]), stats.uniform.cdf(t[5], t[3], t[4] - t[3]),
            stats.expon.cdf(t[7], 0, 1 / t[6]), stats.laplace.sf(t[10], t[8], t[9]),
            stats.norm.sf(t[12], t[0] + 2 * t[1], spread), np.exp(t[0] + t[9] ** 2 / 2) * below,
        ])  # fmt: skip

    found = check(f, make, exact, theta, 300)
    # One coordinate matters to each of the first four: no noise but that of drawing it, of which 2 % go to the others.
    assert np.all(found[:, :4].std(axis=0) < 0.3 * (1e-3 + np.abs(found[:, :4].mean(axis=0))))


def normal_pair(t):
    return dist.Normal(t[0], t[1])


@jax.custom_jvp
def hard(x):
    """A step with a derivative of its own, which stands for the jump and must not be counted beside it."""
    return jnp.where(x > 0, 1.0, 0.0)


@hard.defjvp
def hard_jvp(primals, tangents):
    return hard(primals[0]), tangents[0]


def test_integrands_of_one_normal():
    """Beside steps, an interval, one comparison written three ways, a parabola, tails, switches that read others."""
    theta = jnp.array([0.3, 1.2, 0.7, 1.5, 5.1, -8.1])

    def f(x, t):
        above = x > t[2]
        written_thrice = step(above) * step(jnp.exp(x) > jnp.exp(t[2])) * (1 - step(t[2] - x >= 0))
        fallen, risen = jnp.where(above, x - 1, x + 1), jnp.where(above, x + 1, x - 1)
        return jnp.stack([
            jnp.where(above, x**2, t[3] * x), jnp.where(above & (x < t[3]), x, 0.0), written_thrice, step(x**2 < t[2]),
            step(fallen > t[3]), step(risen > t[3]), hard(x - t[3]), step(x > t[4]), step(x < t[5]),
        ])  # fmt: skip

    def exact(t):
        def inner(g, low, high):
            return integrate.quad(lambda x: g(x) * stats.norm.pdf(x, t[0], t[1]), low, high, epsabs=1e-12)[0]

        def below(x):
            return stats.norm.cdf((x - t[0]) / t[1])

        low, high, root = -11.0, 12.0, np.sqrt(t[2])
        return np.array([
            inner(np.square, t[2], high) + t[3] * inner(lambda x: x, low, t[2]), inner(lambda x: x, t[2], t[3]),
            1 - below(t[2]), below(root) - below(-root), 1 - below(t[3] + 1) + below(t[2]) - below(t[3] - 1),
            1 - below(t[2]), 1 - below(t[3]), 1 - below(t[4]), below(t[5]),
        ])  # fmt: skip

    found = check(f, normal_pair, exact, theta, 200)
    np.testing.assert_allclose(found[:, 7, 4], -stats.norm.pdf(4) / 1.2, rtol=1e-4)
    np.testing.assert_allclose(found[:, 8, 5], stats.norm.pdf(7) / 1.2, rtol=1e-4)


@pytest.mark.full
def test_surfaces_of_several_variables():
    """A product of steps, a sum, a circle, a maximum (whose surface has faces along all axes), a median, first hits."""
    theta = jnp.array([0.3, 1.2, 0.7, 2.0])

    def f(z, t):
        return jnp.stack([
            step(z[0] > t[2]) * step(z[1] < t[2]) * z[2], step(jnp.sum(z) > t[3]),
            step(jnp.sum((z[:2] - t[0]) ** 2) < t[3]),
            step(jnp.max(z) < t[2]), step(jnp.sort(z)[1] < t[2]), jnp.argmax(z > t[3]).astype(z.dtype),
        ])  # fmt: skip

    def exact(t):
        p, s = stats.norm.cdf((t[2] - t[0]) / t[1]), stats.norm.sf((t[3] - t[0]) / t[1])
        return np.array([
            (1 - p) * p * t[0], stats.norm.sf(t[3], 3 * t[0], t[1] * np.sqrt(3)), 1 - np.exp(-t[3] / (2 * t[1] ** 2)),
            p**3, 3 * p**2 - 2 * p**3, (1 - s) * s + 2 * (1 - s) ** 2 * s,
        ])  # fmt: skip

    check(f, lambda t: dist.Normal(jnp.full(3, t[0]), t[1]).to_event(1), exact, theta, 1000)


THETA = jnp.array([0.2, 0.9, 0.3, -0.4])


def against_exact(seed, repeats):
    program = Program(seed)

    def loss(t, key):
        q = {"x": dist.Normal(t[0], t[1]), "y": dist.Uniform(-1.0, 1.5)}
        return rx.expectation(
            lambda z: program(jnp, z["x"], z["y"], t), q, key=key, num_samples=2, estimator="boundary"
        )

    found = np.asarray(many(lambda key: jax.grad(loss)(THETA, key), repeats), np.float64)
    wanted = program.slopes(THETA)
    assert not np.any(np.isnan(found))
    error = np.hypot(found.std(axis=0, ddof=1) / np.sqrt(repeats), 1e-3 * (1 + np.abs(wanted)))
    assert np.max(np.abs(found.mean(axis=0) - wanted) / error) < 5, (seed, found.mean(axis=0), wanted)


@pytest.mark.parametrize("seed", [3])
def test_random_programs(seed):
    against_exact(seed, 1000)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 140))
def test_random_programs_full(seed):
    against_exact(seed, 20000)


def crossing(t, key):
    return estimate(lambda x, t: jnp.where(x > t[2], x, 0.0), normal_pair, t, key, num_samples=4)


def test_under_vmap_scan_and_forward_mode():
    thetas = jnp.array([[0.3, 1.2, 0.7], [0.1, 0.8, -0.2]])
    keys = jax.random.split(jax.random.key(1), 2)

    def body(total, pair):
        return total + crossing(*pair), None

    scanned = jax.jit(jax.grad(lambda ts: jax.lax.scan(body, jnp.zeros(()), (ts, keys))[0]))(thetas)
    together = jax.jit(jax.vmap(jax.jacfwd(crossing)))(thetas, keys)
    np.testing.assert_allclose(scanned, together, rtol=1e-4)
    assert np.all(np.abs(scanned) > 0.05)


@pytest.mark.full
def test_double_precision_is_exact_to_ten_digits(enable_x64):
    theta = jnp.array([0.3, 1.2, 0.7])
    found = jax.jit(
        jax.grad(lambda t: estimate(lambda x, t: step(x > t[2]), normal_pair, t, jax.random.key(0), num_samples=300))
    )(theta)
    density = stats.norm.pdf(0.7, 0.3, 1.2)
    np.testing.assert_allclose(found, [density, density * 0.4 / 1.2, -density], rtol=1e-10)


def test_beside_other_estimators_and_noise_of_its_own():
    theta = jnp.array([0.3, 0.5, -0.4])

    def loss(t, key):
        q = {"b": dist.Bernoulli(logits=t[2]), "x": dist.Normal(t[0], 1.0)}

        def f(z, *, key):
            return z["x"] + 0.7 * jax.random.normal(key) + z["b"].astype(float) > t[1]

        return rx.expectation(f, q, key=key, estimator={"b": "enumeration", "x": "boundary"})

    def exact(t):
        p = 1 / (1 + np.exp(-t[2]))
        above = [stats.norm.sf(t[1] - b - t[0], 0, np.sqrt(1.49)) for b in (0, 1)]
        return np.asarray((1 - p) * above[0] + p * above[1])

    values, found = many(lambda key: jax.value_and_grad(loss)(theta, key), 1000)
    assert z_score(values, exact(np.asarray(theta, float))) < 5
    assert z_score(found, slopes(exact, theta)) < 5


NOT_RESOLVED = {
    "waves finer than the grid": lambda x: step(jnp.sin(40 * x) > 0.2),
    "NaN in a comparison": lambda x: step(jnp.sqrt(x) > -1),
    "NaN as a branch": lambda x: jnp.where(jnp.isnan(jnp.sqrt(x)), 0.0, 1.0),
    "infinity as a branch": lambda x: step(jnp.isfinite(jnp.log(x))),
}


@pytest.mark.parametrize("name", NOT_RESOLVED)
def test_what_is_not_resolved_is_nan(name):
    def loss(t):
        return estimate(lambda x, t: NOT_RESOLVED[name](x), normal_pair, t, jax.random.key(0), num_samples=16)

    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.array([0.3, 1.2]))
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isnan(slope))


REFUSED = {
    "floor": jnp.floor,
    "sign": jnp.sign,
    "round": jnp.round,
    "argmax": lambda x: jnp.argmax(jnp.stack([x, 0.3 * jnp.ones_like(x)])),
    "argsort": lambda x: jnp.argsort(jnp.stack([x, 0.3 * jnp.ones_like(x)]))[0],
    "whole numbers": lambda x: x.astype(int),
    "pole": lambda x: x / jnp.abs(x),
    "equality": lambda x: jnp.where(jnp.maximum(x, 0.0) == 0, 1.0, 0.0),
    "tan": jnp.tan,
    "atan2": lambda x: jnp.arctan2(x, 1.0),
    "rem": lambda x: jnp.mod(x, 1.0),
    "scan": lambda x: jax.lax.scan(lambda c, _: (jnp.where(c > 0.3, c + 1, c), None), x, None, 3)[0],
    "while": lambda x: jax.lax.while_loop(lambda c: c < 3, lambda c: c + 1, x),
    "cond": lambda x: jax.lax.cond(True, lambda y: step(y > 0), lambda y: y, x),
    "callback": lambda x: jax.pure_callback(np.sign, jax.ShapeDtypeStruct((), jnp.float32), x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_jumps_are_refused(name):
    with pytest.raises(InvalidEstimator, match="comparisons"):
        estimate(lambda x, t: REFUSED[name](x), normal_pair, jnp.array([0.3, 1.2]), jax.random.key(0))


def test_comparisons_whose_parameters_are_not_reached_are_refused():
    def noise(x, t, key):
        return x * step(jax.random.uniform(key) < t[1])

    def loss(t):
        q = normal_pair(t)
        return rx.expectation(lambda z, *, key: noise(z, t, key), q, key=jax.random.key(0), estimator="boundary")

    with pytest.raises(InvalidEstimator, match="the key of f"):
        jax.grad(loss)(jnp.array([0.3, 0.7]))
    with pytest.raises(InvalidEstimator, match="stop_gradient"):
        jax.grad(
            lambda t: estimate(lambda x, t: step(jax.lax.stop_gradient(x) > t[1]), normal_pair, t, jax.random.key(0))
        )(jnp.array([0.3, 0.7]))
    with pytest.raises(InvalidEstimator, match="quantile"):
        estimate(lambda x, t: x, lambda t: dist.Gamma(t[0], t[1]), jnp.array([0.3, 1.2]), jax.random.key(0))


def test_second_derivatives_are_refused_where_there_is_a_jump_alone():
    theta = jnp.array([0.3, 1.2, 0.7])
    for mixed in (jax.hessian(crossing), jax.jacfwd(jax.grad(crossing))):
        with pytest.raises(InvalidEstimator, match="second derivative"):
            jax.eval_shape(mixed, theta, jax.random.key(0))

    def outer(c):
        return jax.grad(lambda m: crossing(jnp.stack([m, jnp.float32(1.2), c]), jax.random.key(0)))(jnp.float32(0.3))

    with pytest.raises(InvalidEstimator, match="second derivative"):
        jax.eval_shape(jax.grad(outer), jnp.float32(0.7))
    smooth = jax.jit(jax.hessian(lambda t: estimate(lambda x, t: x**2 * t[2], normal_pair, t, jax.random.key(0))))(
        theta
    )
    np.testing.assert_allclose(smooth[0, 0], 2 * 0.7, rtol=1e-5)
