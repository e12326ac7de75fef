"""RoHyDR's reconstructor and discriminator, and what either minimises."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imer_ray.models.adversary import Discriminator, Reconstructor, discriminator_loss, generator_loss

B, WIDTH = 6, 24


def features(seed):
    return torch.randn(B, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def adversaries():
    torch.manual_seed(0)
    reconstructor, discriminator = Reconstructor(WIDTH), Discriminator(WIDTH).eval()  # its power iteration at rest
    nn.init.normal_(reconstructor.out.weight)  # it is the identity at first
    return reconstructor, discriminator


def test_widths_are_the_published_ones_at_the_published_width():
    widths = [tuple(p.shape) for p in Reconstructor(192).parameters() if p.ndim == 2]
    assert sorted(widths) == sorted([(80, 192), (96, 80), (192, 96)])
    assert [tuple(p.shape) for p in Discriminator(192).parameters() if p.ndim == 2] == [(128, 192), (64, 128), (1, 64)]


@pytest.mark.parametrize("num_features", [1, 2, 7, 192])
def test_every_width_works(num_features):
    x = torch.randn(3, num_features)
    assert Reconstructor(num_features)(x).shape == x.shape
    assert Discriminator(num_features)(x).shape == (3,)


def test_reconstruction_begins_as_the_identity():
    torch.testing.assert_close(Reconstructor(WIDTH)(features(0)), features(0), rtol=0, atol=0)


def test_reconstruction_is_unbounded(adversaries):
    """Published is a Tanh at the end, though the features to be reached are not within [-1, 1]."""
    reconstructor, _ = adversaries
    optimiser = torch.optim.Adam(reconstructor.parameters(), lr=1e-2)
    target = 5 + features(1)
    for _ in range(200):
        optimiser.zero_grad()
        (reconstructor(features(0)) - target).abs().mean().backward()
        optimiser.step()
    assert reconstructor.eval()(features(0)).mean().item() > 4


def test_a_clip_does_not_hang_on_its_batch(adversaries):
    """Batch norms would make two workers differ from one."""
    reconstructor, discriminator = adversaries
    reconstructor.eval()  # no dropout
    for net in (reconstructor, discriminator):
        alone = torch.cat([net(row) for row in features(0).split(1)])
        torch.testing.assert_close(net(features(0)), alone)
    assert not list(reconstructor.buffers())  # no running statistics
    one, other = copy.deepcopy(discriminator).train(), copy.deepcopy(discriminator).train()
    one(features(0)), other(5 + features(1))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))  # of the weights alone


def test_the_discriminators_slope_is_bounded_however_it_is_trained():
    """|dD/dx| <= 1/std(x): the layer norm's slope, and spectral norms of 1 after it; else D outweighs the L1."""
    torch.manual_seed(0)
    discriminator = Discriminator(WIDTH)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        discriminator_loss(discriminator, features(0), features(1)).sum().backward()
        optimiser.step()
    for _ in range(50):  # the power iteration catches up with the last step
        discriminator(features(0))
    layers = [layer for layer in discriminator.layers if isinstance(layer, nn.Linear)]
    for layer in layers:
        assert layer.parametrizations.weight.original.detach().norm() > 1.5  # nothing holds the weights themselves
        assert torch.linalg.matrix_norm(layer.weight.detach(), 2).item() == pytest.approx(1, abs=1e-3)
    x = torch.cat([features(0), features(1), 0.1 * features(2)]).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator.eval()(x).sum(), x)
    assert (slope.norm(dim=1) * x.detach().std(1, correction=0) <= 1.001).all()


@pytest.mark.parametrize("lambda_al", [0.0, 0.3, 1.0])
def test_generator_loss_in_closed_form(adversaries, lambda_al):
    _, discriminator = adversaries
    found = generator_loss(discriminator, features(0), features(1), lambda_al)
    ones = torch.ones(B)
    adversarial = F.binary_cross_entropy(discriminator(features(0)).sigmoid(), ones, reduction="none")
    reconstruction = F.l1_loss(features(0), features(1), reduction="none").mean(1)
    torch.testing.assert_close(found["loss"], lambda_al * adversarial + (1 - lambda_al) * reconstruction)


def test_lambda_al_0_is_reconstruction_alone_and_1_the_adversary_alone(adversaries):
    _, discriminator = adversaries
    for lambda_al, part in ((0.0, "reconstruction"), (1.0, "adversarial")):
        found = generator_loss(discriminator, features(0), features(1), lambda_al)
        torch.testing.assert_close(found["loss"], found[part], rtol=0, atol=0)


def test_discriminator_loss_in_closed_form(adversaries):
    _, discriminator = adversaries
    real, fake = (discriminator(features(seed)).sigmoid() for seed in (1, 0))
    expected = F.binary_cross_entropy(real, torch.ones(B), reduction="none")
    expected = expected + F.binary_cross_entropy(fake, torch.zeros(B), reduction="none")
    torch.testing.assert_close(discriminator_loss(discriminator, features(0), features(1)), expected)


def test_losses_are_finite_where_the_discriminator_is_certain():
    certain = nn.Module()
    certain.forward = lambda x: 1e4 * x[:, 0].sign()
    sure = torch.tensor([[1.0], [-1.0]])
    assert generator_loss(certain, sure, sure, 1.0)["loss"].isfinite().all()
    assert discriminator_loss(certain, sure, -sure).isfinite().all()


def test_neither_loss_moves_what_is_not_its_own(adversaries):
    """F_gt is a target for the one and a real example for the other; fakes are R's, but D's loss does not move R."""
    reconstructor, discriminator = adversaries
    F_lm, F_gt = features(0).requires_grad_(), features(1).requires_grad_()
    reconstructed = reconstructor(F_lm)
    (gradient,) = torch.autograd.grad(
        generator_loss(discriminator, reconstructed, F_gt, 0.5)["loss"].sum(), F_gt, allow_unused=True
    )
    assert gradient is None
    loss = discriminator_loss(discriminator, reconstructed, F_gt).sum()
    others = [F_lm, F_gt, *reconstructor.parameters()]
    assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True, retain_graph=True))
    assert all(g is not None for g in torch.autograd.grad(loss, list(discriminator.parameters())))
