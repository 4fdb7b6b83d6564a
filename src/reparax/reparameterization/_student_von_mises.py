"""Student's t and von Mises: location and scale are explicit, the shape is implicit."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._rule import declared, rule
from reparax.reparameterization._shapes import full_shape, to_float
from reparax.reparameterization._student_t import student_t_sample
from reparax.reparameterization._von_mises import von_mises_sample

FIGURNOV = "Figurnov et al. 2018, eq. 5"


@rule(
    dist.StudentT,
    declare=(*declared("implicit", "df", reference=FIGURNOV), *declared("location-scale", "loc", "scale")),
)
def _student_t(q: dist.StudentT, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    df, loc, scale = to_float(q.df, q.loc, q.scale)
    return loc + scale * student_t_sample(key, df, full_shape(q, sample_shape))


_PERIODIC = (
    "right for functions of period 2 pi; for others the mass that crosses the cut at +-pi is missing in the derivative"
)


@rule(
    dist.VonMises,
    declare=(
        *declared("location-scale", "loc", reason=_PERIODIC),
        *declared("implicit", "concentration", reference="Figurnov et al. 2018, section 4"),
    ),
)
def _von_mises(q: dist.VonMises, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, concentration = to_float(q.loc, q.concentration)
    angle = loc + von_mises_sample(key, concentration, full_shape(q, sample_shape))
    turns = jnp.floor((angle + jnp.pi) / (2 * jnp.pi))
    return angle - 2 * jnp.pi * jax.lax.stop_gradient(turns)
