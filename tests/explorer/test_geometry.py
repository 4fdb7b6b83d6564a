"""Shortest paths, distances and maps of latent spaces, beside closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reparax.explorer.plane import Globe, plane_of
from reparax.explorer.space import Ball, Discrete, Flat, Simplex, Sphere, space_of

RNG = np.random.default_rng(0)
STEPS = 9
NUMBERS = hnp.arrays(np.float64, (2, 3), elements=st.floats(-50, 50))


def hyperbolic(x, y):
    """arcosh(1 + 2 |x - y|^2 / ((1 - |x|^2) (1 - |y|^2))), which the code does not use."""
    gap = ((x - y) ** 2).sum(-1)
    return np.arccosh(1 + 2 * gap / ((1 - (x**2).sum(-1)) * (1 - (y**2).sum(-1))))


def inside(points):
    """Points of the ball, not too near its edge for the formula with arcosh."""
    return 0.95 * points / (1 + np.linalg.norm(points, axis=-1, keepdims=True))


@given(NUMBERS)
@settings(max_examples=60, deadline=None)
def test_geodesics_of_the_ball_are_shortest_and_have_constant_speed(ends):
    start, end = inside(ends)
    path = Ball().path(start, end, STEPS)
    length = hyperbolic(start, end)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-9)
    np.testing.assert_allclose(Ball().distances(start, end[None])[0], length, atol=1e-6)
    steps = hyperbolic(path[1:], path[:-1])
    np.testing.assert_allclose(steps, np.full(STEPS - 1, length / (STEPS - 1)), atol=1e-6)
    # The triangle inequality holds with equality on shortest paths only.
    np.testing.assert_allclose(hyperbolic(start, path) + hyperbolic(path, end), np.full(STEPS, length), atol=1e-6)


def test_a_geodesic_is_an_arc_of_a_circle_that_meets_the_edge_at_right_angles():
    start, end = np.asarray([0.6, 0.1]), np.asarray([-0.2, 0.7])
    path = Ball().path(start, end, 5)
    # Such a circle has a center c with |c|^2 = 1 + r^2, so that 2 c . x = 1 + |x|^2 for each of its points x.
    center = np.linalg.solve(2 * np.stack([start, end]), 1 + (np.stack([start, end]) ** 2).sum(1))
    np.testing.assert_allclose(2 * path @ center, 1 + (path**2).sum(1), atol=1e-12)


@given(NUMBERS)
@settings(max_examples=60, deadline=None)
def test_great_circles_are_planar_and_evenly_spaced(ends):
    sphere = Sphere()
    start, end = sphere.onto(ends)
    path = sphere.path(start, end, STEPS)
    angle = float(np.arccos(np.clip(start @ end, -1, 1)))
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.ones(STEPS), atol=1e-9)
    np.testing.assert_allclose(path[0], start, atol=1e-9)
    np.testing.assert_allclose(sphere.distances(start, end[None])[0], angle, atol=1e-6)
    np.testing.assert_allclose(
        np.arccos(np.clip((path[1:] * path[:-1]).sum(1), -1, 1)), np.full(STEPS - 1, angle / (STEPS - 1)), atol=2e-6
    )
    assert np.linalg.svd(path)[1][2] < 1e-6 * STEPS  # in a plane through the middle
    if angle < np.pi - 1e-5:
        np.testing.assert_allclose(path[-1], end, atol=1e-5)
    else:
        np.testing.assert_allclose(path[-1], -start, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("real", (3,)), ("positive", (3,)), ("unit interval", (3,)), ("simplex", (3,)), ("sphere", (3,)), ("ball", (3,)),
     ("binary", (6,)), ("one-hot", (2, 3)), ("count", (4,)), ("class and real", (5,))],
)  # fmt: skip
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_points_are_moved_onto_the_space_and_stay_there(kind, shape, data):
    space = space_of(kind, shape, 3)
    size = int(np.prod(shape))
    z = data.draw(hnp.arrays(np.float64, (2, size), elements=st.floats(-1e9, 1e9)))
    moved = space.onto(z)
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(space.onto(moved), moved, rtol=1e-5, atol=1e-9)
    path = space.onto(space.path(moved[0], moved[1], 7))
    assert np.isfinite(path).all()
    belongs = {
        "positive": lambda p: (p > 0).all(), "unit interval": lambda p: ((p > 0) & (p < 1)).all(),
        "simplex": lambda p: np.allclose(p.sum(-1), 1) and (p > 0).all(),
        "sphere": lambda p: np.allclose(np.linalg.norm(p, axis=-1), 1),
        "ball": lambda p: (np.linalg.norm(p, axis=-1) < 1).all(), "binary": lambda p: np.isin(p, [0, 1]).all(),
        "one-hot": lambda p: (p.reshape(-1, *shape).sum(-1) == 1).all() and np.isin(p, [0, 1]).all(),
        "count": lambda p: (p == np.rint(p)).all() and (p >= 0).all(),
        "class and real": lambda p: (p[..., :3].sum(-1) == 1).all(),
    }  # fmt: skip
    assert belongs.get(kind, lambda p: True)(np.concatenate([moved, path]))
    assert space.distances(moved[0], moved).shape == (2,)
    assert space.distances(moved[0], moved)[0] < 1e-6


def codes_of(space, size):
    return space.onto(RNG.normal(size=(300, size)) * np.linspace(1.5, 0.3, size) * (0.2 if space.name == "ball" else 1))


@pytest.mark.parametrize(
    ("space", "size"),
    [(Flat(), 1), (Flat(), 2), (Flat(), 5), (Sphere(), 2), (Sphere(), 3), (Sphere(), 6), (Ball(), 2), (Ball(), 5)],
)
def test_a_point_of_the_map_is_reached_and_the_rest_of_the_code_is_kept(space, size):
    codes = codes_of(space, size)
    plane = plane_of(space, codes)
    positions = plane.positions(codes)
    assert positions.shape == (300, 2)
    for code, other in zip(codes[:20], codes[20:40], strict=True):
        target = plane.positions(code[None])[0]
        for current in (None, other):
            z = space.onto(plane.place(target, current))
            reached = plane.positions(z[None])[0]
            np.testing.assert_allclose(reached[0], target[0], atol=1e-6)
            if size > 1:
                np.testing.assert_allclose(reached, target, atol=1e-6)
        if isinstance(space, Flat) and size == 5:  # nothing changes across the plane
            across = np.eye(5) - plane.directions.T @ plane.directions
            np.testing.assert_allclose(across @ plane.place(target, other), across @ other, atol=1e-9)
        np.testing.assert_allclose(plane.positions(plane.place(target, code)[None])[0][0], target[0], atol=1e-6)


def test_principal_components_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    codes = RNG.normal(size=(500, 6)) @ RNG.normal(size=(6, 6))
    found = plane_of(Flat(), codes).positions(codes)
    wanted = PCA(2).fit_transform(codes)
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-8)


def test_the_globe_keeps_areas():
    """Uniform points on the sphere are uniform on the ellipse of Hammer's projection."""
    points = Sphere().onto(RNG.normal(size=(200_000, 3)))
    positions = Globe(("", ""), "").positions(points) / [2 * np.sqrt(2), np.sqrt(2)]
    radius = np.linalg.norm(positions, axis=1)
    assert radius.max() <= 1 + 1e-9
    inner = (radius[:, None] < np.sqrt([0.1, 0.3, 0.5, 0.8])).mean(axis=0)
    np.testing.assert_allclose(inner, [0.1, 0.3, 0.5, 0.8], atol=5 * np.sqrt(0.25 / len(points)))


def test_rounding_of_discrete_codes():
    space = Discrete("one-hot", (2, 3))
    np.testing.assert_array_equal(space.onto(np.asarray([0.2, 0.5, 0.3, 0.9, 0.0, 0.1])), [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(Discrete("binary", (2,)).onto(np.asarray([0.2, 0.8])), [0, 1])
    np.testing.assert_allclose(Simplex().onto(np.asarray([1.0, 3.0])), [0.25, 0.75], atol=1e-6)
