"""What is inside the wrappers of a distribution."""

from numpyro import distributions as dist


def innermost(q: dist.Distribution) -> dist.Distribution:
    """The distribution inside all wrappers, whose batch shape may be smaller than that of the whole."""
    while isinstance(q, dist.Independent | dist.ExpandedDistribution):
        q = q.base_dist
    return q


def is_discrete(q: dist.Distribution) -> bool:
    """Whether the support of q is discrete, also under wrappers."""
    support = q.support
    return support is not None and bool(support.is_discrete)


def is_masked(q: dist.Distribution) -> bool:
    """Whether there is a mask inside, which changes the log density, but not the draws."""
    inside = (getattr(q, name, None) for name in ("base_dist", "base"))
    below = (part for part in inside if isinstance(part, dist.Distribution))
    return isinstance(q, dist.MaskedDistribution) or any(is_masked(part) for part in below)
