from __future__ import annotations

import pytest
import torch

from imer_ray.config.components import build, option
from imer_ray.models.fusion import PAIRS, Head, MulT


def num_parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def small(randomise):
    return randomise(MulT(num_heads=2, num_cross_layers=1, num_self_layers=2).build(16)).eval()


def test_has_as_many_parameters_as_published():
    published = build(option("fusion", "imder"))
    assert num_parameters(published.build(32)) == 905_472
    assert num_parameters(published.build_head(32)) == 74_305


def test_published_settings_drop_attention_to_acoustic_frames_only():
    encoders = MulT().build(32)
    rates = dict(zip(PAIRS, encoders.cross.attn_dropout.rates, strict=True))
    assert {pair for pair, rate in rates.items() if rate} == {(0, 1), (2, 1)}
    assert encoders.joint.attn_dropout is None


def test_features_are_read_at_the_last_frame(small, clips):
    latents = clips[0]
    whole = torch.ones(latents.shape[:3], dtype=torch.bool)
    features = small(latents, whole)
    assert features.shape == (16, 6 * 16)
    # Absent frames behind the last present one change nothing.
    longer = torch.cat([latents, torch.randn(16, 3, 2, 16)], dim=2)
    present = torch.cat([whole, torch.zeros(16, 3, 2, dtype=torch.bool)], dim=2)
    torch.testing.assert_close(small(longer, present), features, rtol=1e-4, atol=1e-5)


def test_causal_fusion_sees_all_frames_at_the_readout_but_none_later(small, clips):
    """Before the self-attention encoders, frame i depends on frames 0 ... i; the readout on all."""
    latents = clips[0][:2]
    whole = torch.ones(latents.shape[:3], dtype=torch.bool)
    fused = []
    small.cross.register_forward_hook(lambda _module, _args, out: fused.append(out))
    features = small(latents, whole)
    changed = latents.clone()
    changed[:, :, 5] += torch.randn(16)  # layer norms hide a constant
    difference = (small(changed, whole) - features).abs()
    assert difference.view(2, 3, 32).amax(2).min() > 1e-4
    moved = (fused[1] - fused[0]).abs().amax((0, 1, 3))
    assert not moved[:5].any() and (moved[5:] > 1e-5).all()
    acausal = MulT(num_heads=2, num_cross_layers=1, num_self_layers=1, causal=False).build(16).eval()
    acausal.cross.register_forward_hook(lambda _module, _args, out: fused.append(out))
    acausal(latents, whole), acausal(changed, whole)
    assert ((fused[3] - fused[2]).abs().amax((0, 1, 3)) > 1e-6).all()


def test_absent_frames_are_never_read_and_rows_do_not_mix(small, clips):
    latents, available, frames = clips
    frames = frames & available[..., None]
    features = small(latents, frames)
    assert features.isfinite().all()  # the first row has no frame at all
    hidden = latents.masked_fill(~frames[..., None], float("nan"))
    torch.testing.assert_close(small(hidden, frames), features, rtol=0, atol=0)
    for row in range(len(latents)):
        i = slice(row, row + 1)
        torch.testing.assert_close(small(latents[i], frames[i]), features[i], rtol=1e-5, atol=1e-5)


def test_a_modality_without_frames_is_safe_in_training(clips):
    latents, available, frames = clips
    settings = MulT(num_heads=2, num_cross_layers=2, num_self_layers=2, attn_dropout=0.1, relu_dropout=0.1)
    encoders, head = settings.build(16).train(), settings.build_head(16)
    latents = latents.clone().requires_grad_()
    head(encoders(latents, frames & available[..., None])).square().sum().backward()
    for module in (encoders, head):
        for name, p in module.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.any(), name
    assert latents.grad.isfinite().all()
    assert not latents.grad[~(frames & available[..., None])].any()


def test_every_modality_counts(small, clips):
    latents, _, frames = clips
    features = small(latents, frames)
    for m in range(3):
        changed = latents.clone()
        changed[:, m, -1] += torch.randn(16)
        assert ((small(changed, frames) - features).abs().amax(1) > 1e-4)[frames[:, m, -1]].all()


def test_head_is_a_residual_layer_and_a_linear_map():
    head = Head(6).eval()
    x = torch.randn(4, 6)
    hidden = torch.relu(x @ head.hidden.weight.T + head.hidden.bias)
    expected = (x + hidden @ head.residual.weight.T + head.residual.bias) @ head.out.weight[0] + head.out.bias
    torch.testing.assert_close(head(x), expected)
    assert head(x).shape == (4,)


@pytest.mark.parametrize(
    "wrong", [{"num_heads": 0}, {"num_self_layers": 0}, {"embed_dropout": 1.0}, {"out_dropout": -1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MulT(**wrong)
    with pytest.raises(ValueError, match="multiple of its 8 heads"):
        MulT().build(12)
