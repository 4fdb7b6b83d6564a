"""What the explanation says of f and of parameters that are given."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import reparax as rx
from reparax.estimators import AssumedContinuous

Q = {"a": dist.Normal(0.0, 1.0), "b": dist.Normal(1.0, 2.0), "k": dist.Categorical(logits=jnp.zeros(3))}


def f(z):
    return jnp.where(z["a"] > 0.0, 1.0, 0.0) + z["b"] ** 2 + z["k"].astype(float)


def test_the_variables_in_which_f_may_jump_are_named():
    found = rx.explain(Q, f=f)
    assert [variable for variable, _ in found.jumps] == ["a"]
    assert "f may jump in a" in str(found)
    assert not rx.explain(Q, f=lambda z: z["b"] ** 2).jumps
    assert not rx.explain(Q, f=AssumedContinuous(f)).jumps
    assert rx.explain(Q).evaluations is None


def test_evaluations_are_counted():
    assert rx.explain(Q, f=f, num_samples=5).evaluations == 3 * 5
    bits = dist.Bernoulli(logits=jnp.zeros(20)).to_event(1)
    found = rx.explain(bits, f=lambda b: jnp.sum(b.astype(float)) ** 2, num_samples=5)
    assert (found.lines[0].estimator, found.evaluations) == ("arms", 5)
    apart = rx.explain(bits, f=lambda b: jnp.sum(b.astype(float)), num_samples=5)
    assert (apart.lines[0].estimator, apart.evaluations) == ("separable-enumeration", 3)


def test_how_parameters_reach_the_expectation():
    def q(parameters):
        return {"x": dist.Normal(parameters["shift"], jnp.exp(parameters["shared"])), "y": dist.Normal(0.0, 1.0)}

    def cost(z, parameters, *, key):
        noise = jax.random.normal(key)
        return jnp.tanh(z["x"] * parameters["weight"] + z["y"] * parameters["shared"]) + noise

    given = {name: jnp.float32(1.0) for name in ("shift", "shared", "weight", "idle")}
    found = rx.explain(q, f=cost, parameters=given)
    reached = {reach.parameter: (reach.through, reach.inside) for reach in found.reaches}
    assert reached == {
        "shift": (("x",), False), "shared": (("x",), True), "weight": ((), True), "idle": ((), False)
    }  # fmt: skip
    shown = str(found)
    assert "shared acts through the distribution of x and f itself" in shown
    assert "nothing depends on idle" in shown
