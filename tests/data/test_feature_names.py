"""Which features a file holds is kept where whoever converts it says so."""

import pickle

import numpy as np
import pytest
from mmsa_files import tree

from imer_ray import convert
from imer_ray.data.store import Store
from imer_ray.errors import UserError


@pytest.fixture
def path(tmp_path):
    data = tree()
    for split in data.values():
        split["audio"] = np.concatenate([split["audio"]] * 11, 2)
    (tmp_path / "clips.pkl").write_bytes(pickle.dumps(data))
    return tmp_path / "clips.pkl"


def test_names_are_kept_and_change_nothing_else(path):
    plain, named = (str(path.with_name(name)) for name in ("plain", "named"))
    convert.main([f"input={path}", f"output={plain}"])
    convert.main([f"input={path}", f"output={named}", "features.a=librosa_sims", "features.l='my own, 4'"])
    assert Store(named).load().feature_names == {"l": "my own, 4", "a": "librosa (CH-SIMS)", "v": None}
    assert Store(plain).load().feature_names == dict.fromkeys("lav")
    assert Store(named).fingerprint() == Store(plain).fingerprint(), "the same clips, whatever they are called"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("features.a=librosa", "librosa gives 24 features of a, and here are 33 of a"),
        ("features.v=librosa_sims", "librosa_sims gives 33 features of a, and here are 2 of v"),
        ("features.b=librosa", "features.b: choose one of a, l, v"),
        (f"features.v={'x' * 201}", "features.v='x.*give a short text"),
        ("features.v=", "features.v=: give a short text"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(path, word, message):
    with pytest.raises(UserError, match=message):
        convert.main([f"input={path}", word, f"output={path.with_name('refused')}"])
    assert not path.with_name("refused").exists()
