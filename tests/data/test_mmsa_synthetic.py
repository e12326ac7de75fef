"""Synthetic files in MMSA's format: shapes, keys, values by their own law, and the way through `convert` to a store."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from imer_ray import convert, generate
from imer_ray.config.components import build, option
from imer_ray.data.mmsa_synthetic import CHUNK, SHORTEST, MmsaShape, clips, mixture, recorded_lengths
from imer_ray.data.store import Store
from imer_ray.errors import UserError

SIZES = {"train": 2 * CHUNK + 5, "valid": 7, "test": CHUNK}
SMALL = [f"shape.num_{split}={n}" for split, n in SIZES.items()] + ["shape.unaligned_a=30", "shape.unaligned_v=20"]
KEYS = {"l": "text", "a": "audio", "v": "vision"}
SPLIT_KEYS = {"raw_text", "id", "text", "audio", "vision", "regression_labels"}


def generated(folder, *settings):
    path = folder / "made.pkl"
    generate.main([f"output={path}", *SMALL, *settings])
    with open(path, "rb") as file:
        return path, pickle.load(file)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    return generated(tmp_path_factory.mktemp("aligned"))


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory):
    return generated(tmp_path_factory.mktemp("unaligned"), "aligned=false")


@pytest.mark.parametrize(
    ("name", "clips", "dims", "gigabytes"),
    [
        ("mosi", (1284, 229, 686), (768, 5, 20), 0.349),
        ("mosei", (16326, 1871, 4659), (768, 74, 35), 4.009),
    ],
)
def test_the_shapes_are_those_of_the_data_sets(name, clips, dims, gigabytes):
    shape = build(option("shape", name))
    assert tuple(shape.num_clips(split) for split in SIZES) == clips
    assert tuple(shape.dims.values()) == dims
    assert shape.lengths(aligned=True) == {"l": 50, "a": 50, "v": 50}
    assert shape.lengths(aligned=False) == {"l": 50, "a": 500, "v": 375}
    assert shape.num_bytes(aligned=True) / 1e9 == pytest.approx(gigabytes, abs=5e-4)


def test_an_aligned_file_has_mmsa_s_keys_shapes_and_types(aligned):
    path, tree = aligned
    assert set(tree) == set(SIZES)
    for split, n in SIZES.items():
        assert set(tree[split]) == SPLIT_KEYS
        for key, dim in (("text", 768), ("audio", 5), ("vision", 20)):
            array = tree[split][key]
            assert type(array) is np.ndarray and array.dtype == np.float32 and array.shape == (n, 50, dim)
            assert np.isfinite(array).all() and (array != 0).any(2).all()
        labels = tree[split]["regression_labels"]
        assert labels.dtype == np.float32 and labels.shape == (n,) and np.abs(labels).max() <= 3
        assert len(tree[split]["raw_text"]) == len(set(tree[split]["id"])) == n
    assert not {i for a in tree for b in tree if a != b for i in tree[a]["id"] if i in tree[b]["id"]}
    arrays = sum(tree[split][key].nbytes for split in tree for key in KEYS.values())
    shape = MmsaShape(**{f"num_{split}": n for split, n in SIZES.items()})
    assert arrays == shape.num_bytes(aligned=True)
    assert arrays < path.stat().st_size < arrays + generate.BYTES_PER_CLIP * sum(SIZES.values())


def test_an_unaligned_file_says_how_many_frames_count_and_holds_zeros_after_them(unaligned):
    _, tree = unaligned
    frames = {"text": 50, "audio": 30, "vision": 20}
    for split, n in SIZES.items():
        assert set(tree[split]) == SPLIT_KEYS | {"audio_lengths", "vision_lengths"}
        filled = {key: (tree[split][key] != 0).any(2) for key in frames}
        for key, length in frames.items():
            assert filled[key].shape == (n, length)
            counts = filled[key].sum(1)
            assert (filled[key] == (np.arange(length) < counts[:, None])).all()
            assert counts.min() >= SHORTEST * length
            if key != "text":
                assert counts.tolist() == tree[split][f"{key}_lengths"]
        # A clip lasts as long in one modality as in another: its share of the frames differs by rounding alone.
        share = np.stack([filled[key].sum(1) / length for key, length in frames.items()])
        assert np.ptp(share, axis=0).max() <= 1 / 20
        assert n < 10 or np.ptp(share[0]) > 0.5


@pytest.mark.parametrize("fixture", ["aligned", "unaligned"])
def test_conversion_gives_the_very_numbers_standardised(tmp_path, request, fixture):
    path, tree = request.getfixturevalue(fixture)
    convert.main([f"input={path}", f"output={tmp_path / 'store'}"])
    dataset = Store(str(tmp_path / "store")).load()
    assert dataset.dims == {"l": 768, "a": 5, "v": 20}
    for split, n in SIZES.items():
        batch = dataset.batch(split, torch.arange(n))
        assert batch.labels.tolist() == tree[split]["regression_labels"].tolist()
        assert batch.recorded.all()
        for m, key in KEYS.items():
            filled = (tree[split][key] != 0).any(2)
            assert (batch.frames[m].numpy() == filled).all()
            train = tree["train"][key][(tree["train"][key] != 0).any(2)].astype(np.float64)
            wanted = (tree[split][key] - train.mean(0)) / train.std(0) * filled[..., None]
            np.testing.assert_allclose(batch.features[m], wanted, rtol=1e-4, atol=1e-4)


def test_a_seed_gives_the_same_file_and_another_seed_other_clips(tmp_path, unaligned):
    path, tree = unaligned
    again, _ = generated(tmp_path, "aligned=false")
    assert again.read_bytes() == path.read_bytes()
    again.unlink()
    _, other = generated(tmp_path, "aligned=false", "seed=1")
    for split in SIZES:
        assert not np.isclose(other[split]["regression_labels"], tree[split]["regression_labels"]).all()
        assert other[split]["audio_lengths"] != tree[split]["audio_lengths"]


def test_a_smaller_split_is_the_beginning_of_a_larger_one_and_splits_differ():
    small, large = MmsaShape(num_valid=CHUNK + 1, dim_l=4), MmsaShape(num_valid=2 * CHUNK + 3, dim_l=4)
    parts = [list(clips(shape, True, 0, "valid")) for shape in (small, large)]
    first, longer = (np.concatenate([labels for _, _, labels in part]) for part in parts)
    assert len(first) == CHUNK + 1 and len(longer) == 2 * CHUNK + 3
    assert (longer[: CHUNK + 1] == first).all()
    assert (parts[0][1][1]["a"] == parts[1][1][1]["a"][:1]).all()
    test = next(iter(clips(small, True, 0, "test")))[2]
    assert not np.isclose(test, first[:CHUNK]).any()


def test_the_oracle_of_the_mixture_predicts_the_labels_of_the_file():
    """Who knows the model reads the sentiment from all modalities much better than from sound alone."""
    shape = MmsaShape(num_train=12 * CHUNK, dim_l=8, num_frames=6)
    parts = list(clips(shape, True, 0, "train"))
    y = torch.from_numpy(np.concatenate([labels for _, _, labels in parts]))
    x = {m: torch.from_numpy(np.concatenate([f[m] for _, f, _ in parts])).flatten(1).double() for m in KEYS}
    error = {}
    for available in ("lav", "a", ""):
        posterior = mixture(shape, True).posterior({m: x[m] for m in available})
        error[available] = (posterior.label_median(3.0) - y).abs().mean().item()
    assert error["lav"] < 0.75 * error["a"] < 0.75 * error[""]


def test_recorded_lengths_are_spread_over_all_that_is_allowed():
    lengths = recorded_lengths(MmsaShape(), False, 0, "train")
    for m, length in MmsaShape().lengths(aligned=False).items():
        share = lengths[m] / length
        assert share.min() < SHORTEST + 0.03 and share.max() > 0.99 and abs(share.mean() - (1 + SHORTEST) / 2) < 0.03


def test_a_file_that_is_cut_off_is_refused(tmp_path, aligned):
    path, _ = aligned
    content = path.read_bytes()
    for kept in (0, 1, 100, len(content) // 2, len(content) - 1):
        broken = tmp_path / f"{kept}.pkl"
        broken.write_bytes(content[:kept])
        message = r"pkl: damaged or not a pickle.*too early" if kept else "pkl: the file is empty"
        with pytest.raises(UserError, match=message):
            convert.main([f"input={broken}", f"output={tmp_path / 'store'}"])
        assert not (tmp_path / "store").exists()


def test_a_file_in_which_a_function_was_swapped_is_refused_and_nothing_is_run(tmp_path, aligned):
    path, _ = aligned
    broken = tmp_path / "swapped.pkl"
    broken.write_bytes(path.read_bytes().replace(b"numpy\nndarray\n", b"posix\nabort__\n"))
    with pytest.raises(UserError, match=r"refused: the pickle asks for 'posix.abort__'; nothing was run"):
        convert.main([f"input={broken}", f"output={tmp_path / 'store'}"])


def test_what_the_command_cannot_do_is_one_clear_error(tmp_path, aligned):
    path, _ = aligned
    before = path.read_bytes()
    with pytest.raises(UserError, match="output="):
        generate.main([])
    with pytest.raises(UserError, match="already exists"):
        generate.main([f"output={path}", *SMALL])
    assert path.read_bytes() == before
    clips_too_many = shutil.disk_usage(tmp_path).free // 100_000
    with pytest.raises(UserError, match="GB are free there"):
        generate.main([f"output={tmp_path / 'large.pkl'}", f"shape.num_train={clips_too_many}"])
    with pytest.raises(UserError, match="dim_a must be at least 3"):
        generate.main([f"output={tmp_path / 'narrow.pkl'}", "shape.dim_a=2"])
    with pytest.raises(UserError, match="did you mean mosei"):
        generate.main([f"output={tmp_path / 'other.pkl'}", "shape=mosey"])
    assert os.listdir(tmp_path) == []
