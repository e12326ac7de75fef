from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imer_ray.models.attention import Encoders, Mask, attend, attention_mask, sinusoidal_positions
from imer_ray.models.dropout import Dropout


def published(encoders, g, x, memory, causal):
    """Encoder g of a stack written with torch's own modules: pre-norm layers as in MulT's code."""
    scale, positions = math.sqrt(x.shape[-1]), sinusoidal_positions(x.shape[1], x.shape[2], x.device, x.dtype)
    h, m = scale * x + positions, None if memory is None else scale * memory + positions
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if causal else None
    for layer in encoders.layers:
        attention = nn.MultiheadAttention(x.shape[-1], layer.num_heads, batch_first=True)
        weight = torch.cat([layer.query.weight[g], layer.key_value.weight[g]], dim=1).T
        bias = torch.cat([layer.query.bias[g, 0], layer.key_value.bias[g, 0]])
        attention.load_state_dict(
            {
                "in_proj_weight": weight,
                "in_proj_bias": bias,
                "out_proj.weight": layer.out.weight[g].T,
                "out_proj.bias": layer.out.bias[g, 0],
            }
        )

        def norm(which, value):
            return F.layer_norm(value, value.shape[-1:], which.weight[g, 0], which.bias[g, 0])  # noqa: B023

        query = norm(layer.attention_norm, h)
        source = query if m is None else norm(layer.attention_norm, m)
        h = h + attention(query, source, source, attn_mask=future)[0]
        hidden = F.relu(norm(layer.feed_forward_norm, h) @ layer.expand.weight[g] + layer.expand.bias[g])
        h = h + hidden @ layer.contract.weight[g] + layer.contract.bias[g]
    return norm(encoders.norm, h)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("has_memory", [True, False])
def test_stacked_encoders_equal_single_ones_written_with_torch_modules(causal, has_memory, randomise):
    encoders = randomise(Encoders(3, 16, 4, num_layers=2, causal=causal)).eval()
    x, memory = torch.randn(3, 5, 7, 16), torch.randn(3, 5, 7, 16) if has_memory else None
    out = encoders(x, memory)
    for g in range(3):
        expected = published(encoders, g, x[g], None if memory is None else memory[g], causal)
        torch.testing.assert_close(out[g], expected, rtol=1e-4, atol=1e-5)


def test_reading_one_frame_equals_computing_all(randomise):
    encoders = randomise(Encoders(2, 16, 4, num_layers=3, causal=True)).eval()
    x = torch.randn(2, 4, 6, 16)
    torch.testing.assert_close(encoders.read(x, torch.full((4,), 5), None, None), encoders(x)[:, :, 5])
    last = torch.tensor([5, 3, 0, 4])
    frames = (torch.arange(6) <= last[:, None]).repeat(2, 1)
    frames[1, 1] = False
    mask, last_mask = attention_mask(frames, 6, True), attention_mask(frames, 1, False)
    expected = encoders(x, None, mask)[:, torch.arange(4), last]
    torch.testing.assert_close(encoders.read(x, last, mask, last_mask), expected)


def test_causal_encoders_read_no_later_memory(randomise):
    x, memory = torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    changed = memory.clone()
    changed[:, :, 4:] += torch.randn(8)  # layer norms hide a constant
    for causal in (True, False):
        encoders = randomise(Encoders(1, 8, 2, num_layers=2, causal=causal)).eval()
        difference = (encoders(x, changed) - encoders(x, memory)).abs().amax((0, 1, 3))
        assert (difference[4:] > 1e-4).all()
        assert bool((difference[:4] == 0).all()) is causal


def test_queries_with_nothing_to_read_get_zero_and_finite_gradients():
    frames = torch.tensor([[False, False, True, True], [False, False, False, False]])
    mask = attention_mask(frames, 4, causal=True)
    assert isinstance(mask, Mask)
    q, k, v = (torch.randn(2, 2, 4, 8, requires_grad=True) for _ in range(3))
    for drop in (None, Dropout([0.0, 0.0])):
        out = attend(q, k, v, mask, True, drop)
        assert not out[0, :, :2].any() and not out[1].any()
        torch.testing.assert_close(out[0, :, 2], v[0, :, 2])  # only itself
        out.sum().backward()
        assert all(z.grad.isfinite().all() for z in (q, k, v))
        assert not v.grad[1].any()
    assert attention_mask(torch.ones(2, 4, dtype=torch.bool), 4, causal=True) is None


@pytest.mark.parametrize("masked", [True, False])
def test_attention_dropout_is_exact_at_rate_zero_and_unbiased_otherwise(masked):
    frames = torch.ones(2, 6, dtype=torch.bool)
    frames[:, 5] = not masked
    mask = attention_mask(frames, 6, causal=True)
    q, k, v = (torch.randn(2, 2, 6, 8) for _ in range(3))
    exact = attend(q, k, v, mask, True, None)
    torch.testing.assert_close(attend(q, k, v, mask, True, Dropout([0.0, 0.0])), exact)
    drop = Dropout([0.0, 0.5])
    draws = torch.stack([attend(q, k, v, mask, True, drop) for _ in range(4000)])
    torch.testing.assert_close(draws[:, 0], exact[0].expand(4000, -1, -1, -1))
    error = draws[:, 1].mean(0) - exact[1]
    assert (error.abs() < 5 * draws[:, 1].std(0) / 4000**0.5 + 1e-6).all()  # 5 standard errors


def test_positions_start_at_one_and_are_distinct():
    table = sinusoidal_positions(50, 32, torch.device("cpu"), torch.float32)
    assert table.shape == (50, 32)
    torch.testing.assert_close(table[0, 0], torch.tensor(1.0).sin())
    torch.testing.assert_close(table[9, 16], torch.tensor(10.0).cos())
    distances = torch.cdist(table, table) + torch.eye(50) * 9
    assert distances.min() > 0.1
