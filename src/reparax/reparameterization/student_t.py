"""Student-t draws: location and scale are explicit, the degrees of freedom implicit."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization._rules import declared, rule
from reparax.reparameterization.beta import logit_beta_path
from reparax.reparameterization.gamma import draw_log_gamma
from reparax.reparameterization.numerics import broadcast_flat, full_shape, to_float

# The share of the largest exponent that draws may use: a draw times its own derivative is still a number.
_HEADROOM = 0.85
FIGURNOV = "Figurnov et al. 2018, eq. 5"


def student_t_sample(
    key: Key[Array, ""],
    df: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*shape"]:
    """A draw from the standard Student-t with ``df`` degrees of freedom, differentiable in them to every order.

    Draws beyond the largest finite numbers (float32: about 1e32, which matters for df below 0.5) are held there, with a
    derivative of zero; :func:`log_abs_student_t_sample` has no such end.

    Args:
        key: A typed random key.
        df: Positive degrees of freedom; they broadcast to ``shape``.
        shape: Shape of the result; by default that of ``df``.
        dtype: Floating type of the result; by default that of ``df``.
    """
    log_abs, sign = log_abs_student_t_sample(key, df, shape, dtype)
    largest = _HEADROOM * jnp.log(jnp.finfo(log_abs.dtype).max)
    return sign * jnp.exp(jnp.minimum(log_abs, largest.astype(log_abs.dtype)))


def log_abs_student_t_sample(
    key: Key[Array, ""],
    df: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""(log |t|, sign t) of a standard Student-t draw.

    $t^2 / (\nu + t^2)$ is Beta(1/2, nu/2), so that $2 \log|t| = z + \log\nu$ with z the logit of that draw, whose
    implicit derivative is univariate: the least noisy of all pathwise derivatives.
    """
    df = jnp.asarray(df, dtype)
    shape = df.shape if shape is None else shape
    df = broadcast_flat(df, shape)
    normal_key, gamma_key = jax.random.split(key)
    normal = jax.random.normal(normal_key, df.shape, df.dtype)
    half = 0.5 * df
    log_chi = jnp.log(jnp.maximum(0.5 * normal * normal, jnp.finfo(df.dtype).tiny))
    drawn = log_chi - draw_log_gamma(gamma_key, jax.lax.stop_gradient(half))
    logit = logit_beta_path(drawn, jnp.full_like(half, 0.5), half)
    sign = jnp.where(normal < 0.0, -1.0, 1.0).astype(df.dtype)
    return (0.5 * (logit + jnp.log(df))).reshape(shape), sign.reshape(shape)


@rule(
    dist.StudentT,
    declare=(*declared("implicit", "df", reference=FIGURNOV), *declared("location-scale", "loc", "scale")),
)
def _student_t(q: dist.StudentT, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    df, loc, scale = to_float(q.df, q.loc, q.scale)
    return loc + scale * student_t_sample(key, df, full_shape(q, sample_shape))
