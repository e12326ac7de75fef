import pytest
import torch

from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_grid import SPACINGS, check_spacing, nodes, nodes_at, time_grid, walk

COORDINATES = {
    "uniform": lambda t, r: t,
    "log_snr": lambda t, r: -2 * r.log(),
    "karras": lambda t, r: r ** (1 / 7),
    "angle": lambda t, r: r.atan(),
}


@pytest.mark.parametrize("num_steps", [1, 2, 7, 100])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_are_equal_in_the_coordinate_of_their_name(sde, spacing, num_steps):
    t = time_grid(sde, num_steps, spacing)
    assert t.shape == (num_steps + 1,)
    assert (t[0].item(), t[-1].item()) == (sde.t_max, sde.t_min)
    alpha_t, sigma_t = sde.marginal_prob(t)
    u = COORDINATES[spacing](t, sigma_t / alpha_t)
    torch.testing.assert_close(u, torch.linspace(u[0], u[-1], num_steps + 1, dtype=u.dtype), rtol=1e-9, atol=1e-9)
    assert (t.diff() < 0).all()


def test_every_spacing_has_its_coordinate_here():
    assert set(SPACINGS) == set(COORDINATES)


def test_nodes_carry_the_marginals():
    sde = VP()
    t = time_grid(sde, 5, "angle")
    for node, time, alpha_t, sigma_t in zip(nodes(sde, 5, "angle"), t, *sde.marginal_prob(t), strict=True):
        assert node == (time.item(), alpha_t.item(), sigma_t.item())


def test_nodes_are_found_by_their_noise(sde):
    grid = nodes(sde, 9, "karras")
    found = nodes_at(sde, tuple(node.ratio for node in grid))
    for node, again in zip(grid, found, strict=True):
        assert again == pytest.approx(node, rel=1e-9)
    above, below = nodes_at(sde, (2 * grid[0].ratio, grid[-1].ratio / 2))
    assert (above.t, below.t) == (pytest.approx(sde.t_max), pytest.approx(sde.t_min))
    assert above.t <= sde.t_max and below.t >= sde.t_min


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_a_walk_visits_all_times_but_the_last_one_after_another(sde, num_steps):
    grid, way = nodes(sde, num_steps, "angle"), walk(sde, num_steps, "angle")
    assert (*(t for t, _ in way.steps), way.last) == grid[:-1]
    assert [s for _, s in way.steps] == list(grid[1:-1])
    assert way.first == grid[0]


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        time_grid(VP(), 0, "uniform")
    with pytest.raises(ValueError, match="spacing must be one of"):
        check_spacing("quadratic")
