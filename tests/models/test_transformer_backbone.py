from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from imer_ray.models.backbones.transformer import Transformer

SMALL = Transformer(width=16, num_layers=2, num_heads=2)


def test_output_is_zero_at_first(clips):
    latents, available, frames = clips
    network = SMALL.build(16, 9, target=0).eval()
    out = network(torch.randn(16, 9, 16), torch.rand(16), network.condition(latents, available, frames))
    assert not out.any()


def test_keys_and_values_of_the_condition_are_computed_once(clips, randomise):
    """Ten steps call none of the maps that read the condition, and the cache does not change."""
    latents, available, frames = clips
    network = randomise(SMALL.build(16, 9, target=0)).eval()
    calls = []
    for reader in (network.memory, network.memory_norm, *network.source_in):
        reader.register_forward_hook(lambda module, _args, _out: calls.append(module))
    cache = network.condition(latents, available, frames)
    assert len(calls) == 4
    before = [part.clone() for memory in cache.memories for part in memory]
    assert len(before) == 4  # keys and values per layer
    calls.clear()
    x = torch.randn(16, 9, 16)
    for t in torch.linspace(1, 0.1, 10):
        x = x - 0.1 * network(x, t.expand(16), cache)
    assert not calls
    after = [part for memory in cache.memories for part in memory]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_equals_attention_written_out_with_keys_and_values_computed_at_every_step(clips, randomise):
    latents, available, frames = clips
    network = randomise(SMALL.build(16, 9, target=1)).eval()
    x, t = torch.randn(16, 9, 16), torch.rand(16)
    out = network(x, t, network.condition(latents, available, frames))
    for row in range(16):
        expected = written_out(network, x[row], t[row], latents[row], available[row], frames[row])
        has_frames = (frames[row] & available[row, :, None])[[0, 2]].any(0)
        own = has_frames if has_frames.any() else torch.ones(9, dtype=torch.bool)
        torch.testing.assert_close(out[row][own], expected, rtol=0, atol=1e-5)


def written_out(network, x, t, latents, available, frames):
    """One clip, only its present tokens, one head at a time, no mask: [own frames, D]."""
    sources = [(0, network.source_in[0], network.source[0]), (2, network.source_in[1], network.source[1])]
    tokens = [network.nothing[None]]
    own = torch.zeros(9, dtype=torch.bool)
    for m, embed, mark in sources:
        if available[m]:
            tokens.append((embed(latents[m]) + mark + network.position)[frames[m]])
            own |= frames[m]
    own = own if own.any() else ~own
    memory = network.memory_norm(torch.cat(tokens))
    angles = t * network.time_rates
    time = network.time(torch.cat([angles.sin(), angles.cos()]))
    modulation = network.modulation(time).view(-1, 16)
    h = (network.frame_in(x) + network.position)[own]
    for i, layer in enumerate(network.layers):
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation[6 * i : 6 * i + 6]
        q, k, v = layer.qkv(F.layer_norm(h, (16,)) * scale + shift).split(16, dim=1)
        weight, bias = network.memory.weight.view(2, 2, 16, 16)[i], network.memory.bias.view(2, 2, 16)[i]
        k, v = (torch.cat([part, memory @ weight[j].T + bias[j]]) for j, part in enumerate((k, v)))
        heads = [((q[:, s] @ k[:, s].T) / 8**0.5).softmax(1) @ v[:, s] for s in (slice(0, 8), slice(8, 16))]
        h = h + gate * layer.attended(torch.cat(heads, 1))
        hidden = F.silu(layer.expand(F.layer_norm(h, (16,)) * scale_mlp + shift_mlp))
        h = h + gate_mlp * layer.contract(hidden)
    shift, scale = modulation[-2:]
    return network.out(F.layer_norm(h, (16,)) * scale + shift) + network.skip(time) * x[own]


def test_modalities_missing_in_the_whole_batch_cost_no_keys(clips):
    latents, _, _ = clips
    network = SMALL.build(16, 9, target=0).eval()
    whole = torch.ones(16, 3, 9, dtype=torch.bool)
    one = network.condition(latents, torch.tensor([False, True, False]).expand(16, 3), whole)
    both = network.condition(latents, torch.tensor([False, True, True]).expand(16, 3), whole)
    assert [c.memories[0][0].shape[1] for c in (one, both)] == [1 + 9, 1 + 18]
    assert one.mask is None and both.mask is None


def test_dropout_acts_in_training_only(clips, randomise):
    latents, available, frames = clips
    network = randomise(Transformer(width=16, num_heads=2, dropout=0.5).build(16, 9, target=0))
    x, t = torch.randn(16, 9, 16), torch.rand(16)

    def outputs():
        return [network(x, t, network.condition(latents, available, frames)) for _ in range(2)]

    first, second = outputs()
    assert not torch.allclose(first, second)
    network.eval()
    first, second = outputs()
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"num_layers": 0}, {"num_heads": 3}, {"mlp_ratio": 0}, {"dropout": 1.0}, {"width": 15}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Transformer(**wrong)
