from __future__ import annotations

import pytest
import torch

from imer_ray.models.backbones.imder_unet import MIN_FRAMES, FourierFeatures, ImderUnet


def num_parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_has_as_many_parameters_as_published():
    network = ImderUnet().build(latent_dim=32, num_frames=48, target=0)
    assert num_parameters(network.score_net) == 3_457_664
    assert num_parameters(network.fuse) == 64 * 32 + 32  # one of the authors' cat_lv, cat_la, cat_va
    frozen = [p for p in network.parameters() if not p.requires_grad]
    assert [p.numel() for p in frozen] == [128]  # the Fourier weights


def test_levels_have_the_published_channels_and_lengths():
    network = ImderUnet().build(latent_dim=32, num_frames=48, target=0).eval()
    shapes = []
    for level in [*network.score_net.down, *network.score_net.up]:
        level.register_forward_hook(lambda _module, _args, out: shapes.append(tuple(out.shape[1:])))
    known = network.score_net.remember(torch.randn(2, 32, 48))
    network.score_net(torch.randn(2, 32, 48), torch.rand(2), known)
    down = [(32, 48), (64, 24), (128, 12), (256, 6)]
    up = [(128, 12), (64, 24), (32, 48), (32, 48)]
    assert shapes == down + up
    keys = [[tuple(k.shape) for k, _ in level] for level in known]
    assert keys == [[(2, 8, length, channels // 8)] * 2 for channels, length in shapes]  # the condition keeps step


@pytest.mark.parametrize("length", [8, 9, 10, 11, 12, 13, 15, 17, 50])
def test_transposed_convolutions_give_back_the_encoder_lengths(length):
    network = ImderUnet(num_layers=1).build(latent_dim=8, num_frames=length, target=2).eval()
    lengths = []
    for level in [*network.score_net.down, *network.score_net.up]:
        level.register_forward_hook(lambda _module, _args, out: lengths.append(out.shape[2]))
    known = network.score_net.remember(torch.randn(1, 8, length))
    out = network.score_net(torch.randn(1, 8, length), torch.rand(1), known)
    assert out.shape == (1, 8, length)
    half = [length, -(-length // 2), -(-length // 4), -(-length // 8)]
    assert lengths == [*half, half[2], half[1], length, length]


def test_too_few_frames_are_refused_with_the_minimum():
    with pytest.raises(ValueError, match=f"at least {MIN_FRAMES} frames, not 7"):
        ImderUnet().build(latent_dim=32, num_frames=7, target=0)


def test_condition_is_the_one_available_modality_or_the_fusion_of_two():
    network = ImderUnet().build(latent_dim=8, num_frames=8, target=0).eval()
    latents, frames = torch.randn(4, 3, 8, 8), torch.ones(4, 3, 8, dtype=torch.bool)
    available = torch.tensor([[0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    fused = network.condition(latents, available, frames).fused
    a, v = latents[:, 1].transpose(1, 2), latents[:, 2].transpose(1, 2)
    torch.testing.assert_close(fused[0], a[0])
    torch.testing.assert_close(fused[1], v[1])
    torch.testing.assert_close(fused[2], network.fuse(torch.cat([a, v], 1))[2])
    assert not fused[3].any()


def test_what_is_remembered_of_the_condition_changes_no_result():
    network = ImderUnet().build(latent_dim=32, num_frames=9, target=1).eval()
    latents, frames = torch.randn(5, 3, 9, 32), torch.ones(5, 3, 9, dtype=torch.bool)
    available = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0]], dtype=torch.bool)
    x, t = torch.randn(5, 9, 32), torch.rand(5)
    with torch.no_grad():
        kept = network.condition(latents, available, frames)
        once = network(x, t, kept)
        network.cached = False
        recomputed = network.condition(latents, available, frames)
        assert kept.known is not None and recomputed.known is None
        torch.testing.assert_close(network(x, t, recomputed), once)


def test_fourier_features_lie_on_circles_and_are_frozen():
    features = FourierFeatures(256, 30.0)
    out = features(torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(out[:, :128] ** 2 + out[:, 128:] ** 2, torch.ones(3, 128))
    torch.testing.assert_close(out[0], torch.cat([torch.zeros(128), torch.ones(128)]))
    assert 24 < features.weight.std() < 36  # 30 within 3 standard errors


def test_attention_is_causal_at_every_level():
    network = ImderUnet().build(latent_dim=32, num_frames=48, target=0)
    assert all(level.attention.causal for level in [*network.score_net.down, *network.score_net.up])


@pytest.mark.parametrize("wrong", [{"num_heads": 0}, {"num_layers": 0}, {"time_dim": 7}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ImderUnet(**wrong)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="multiple of its 8 heads"):
        ImderUnet().build(latent_dim=12, num_frames=8, target=0)
