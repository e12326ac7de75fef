"""Small batches of latents in which rows differ in what is available and in how many frames they have."""

from __future__ import annotations

import itertools

import pytest
import torch

NUM_FRAMES = 9
LATENT_DIM = 16


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def clips():
    """(latents, available, frames): every subset of the modalities, whole and with the first 0 ... 7 frames absent."""
    subsets = torch.tensor(list(itertools.product([False, True], repeat=3)))
    available = subsets.repeat(2, 1)
    B = len(available)
    frames = torch.ones(B, 3, NUM_FRAMES, dtype=torch.bool)
    for row in range(8, B):
        frames[row, :, : row - 8] = False
    frames[-1, 1, -3:] = False  # modalities of one clip need not have the same frames
    return torch.randn(B, 3, NUM_FRAMES, LATENT_DIM), available, frames


@pytest.fixture
def randomise():
    """Replace every trainable parameter, zero-initialised ones too, by its value plus noise."""

    def change(module, scale=0.2):
        with torch.no_grad():
            for p in module.parameters():
                if p.requires_grad:
                    p.add_(torch.randn_like(p) * scale)
        return module

    return change
