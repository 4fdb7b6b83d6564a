"""Which distributions have a reparameterization, what is said of it, and how the others are refused."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

from reparax.errors import NotReparameterizable
from reparax.reparameterization import is_reparameterizable, parameter_rules, rsample, rule

KEY = jax.random.key(0)

DISCRETE = [
    dist.Bernoulli(probs=0.3),
    dist.Categorical(logits=jnp.zeros(3)),
    dist.Poisson(2.0),
    dist.Binomial(5, probs=0.3),
    dist.Bernoulli(logits=jnp.zeros(4)).to_event(1),
    dist.Poisson(2.0).expand((3,)),
    dist.Bernoulli(probs=jnp.full(3, 0.3)).mask(jnp.array([True, False, True])),
    dist.TransformedDistribution(dist.Poisson(2.0), dist.transforms.AffineTransform(0.0, 2.0)),
    dist.ZeroInflatedPoisson(0.1, 2.0),
    dist.MixtureSameFamily(dist.Categorical(probs=jnp.full(2, 0.5)), dist.Poisson(jnp.array([1.0, 2.0]))),
]


@pytest.mark.parametrize("q", DISCRETE, ids=lambda q: type(q).__name__)
def test_discrete_distributions_are_refused_by_name(q):
    assert not is_reparameterizable(q)
    with pytest.raises(NotReparameterizable, match="score function"):
        rsample(q, KEY)


def test_refusal_names_the_parameter_and_the_estimators():
    with pytest.raises(NotReparameterizable, match=r"function of probs.*discrete.*enumeration, DisARM"):
        rsample(dist.Bernoulli(probs=0.3), KEY)


def test_rules_are_declared_per_parameter():
    rules = parameter_rules(dist.Normal(0.0, 1.0).expand((3,)).to_event(1))
    assert [(entry.parameter, entry.method) for entry in rules] == [
        ("loc", "location-scale"),
        ("scale", "location-scale"),
    ]


def test_a_subclass_that_draws_differently_does_not_inherit_the_rule():
    class Shifted(dist.Normal):
        def sample(self, key, sample_shape=()):
            return super().sample(key, sample_shape) + jnp.floor(self.loc)

    class Renamed(dist.Normal):
        """The same draws under another name."""

    assert not is_reparameterizable(Shifted(0.0, 1.0))
    assert is_reparameterizable(Renamed(0.0, 1.0))
    with pytest.raises(NotReparameterizable, match="register one with rule"):
        rsample(Shifted(0.0, 1.0), KEY)


def test_a_users_own_family_joins_by_one_registration():
    class Doubled(dist.Normal):
        def sample(self, key, sample_shape=()):
            return 2 * super().sample(key, sample_shape)

    @rule(Doubled, declare=parameter_rules(dist.Normal()))
    def _doubled(q, key, sample_shape):
        return 2 * rsample(dist.Normal(q.loc, q.scale), key, sample_shape)

    assert jax.grad(lambda m: rsample(Doubled(m, 1.0), KEY))(0.3) == 2


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_shapes_of_samples_batches_and_expansions(shape):
    q = dist.Normal(jnp.arange(3.0)[:, None], 1.0).expand((5, 3, 4)).to_event(1)
    z = rsample(q, KEY, shape)
    assert z.shape == (*shape, 5, 3, 4)
    means = rsample(q, KEY, (2000,)).mean((0, 1, 3))
    assert jnp.all(jnp.abs(means - jnp.arange(3.0)) < 5 / jnp.sqrt(2000 * 20))


def test_the_same_key_gives_the_same_bits():
    q = dist.Normal(jnp.arange(3.0), 1.0)
    assert jnp.array_equal(rsample(q, KEY, (4,)), rsample(q, KEY, (4,)))
    compiled = jax.jit(lambda: rsample(q, KEY, (4,)))
    assert jnp.array_equal(compiled(), compiled())
    assert jnp.max(jnp.abs(compiled() - rsample(q, KEY, (4,)))) < 1e-6
