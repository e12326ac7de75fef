"""A clip's surroundings against a plain reading of the definition, for any videos."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.data.context import VideoSpans, past_windows

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def names(sizes):
    return np.repeat([f"video{i}" for i in range(len(sizes))], sizes)


@given(SIZES, st.integers(0, 6), st.data())
def test_spans_are_even_parts_of_a_video_s_other_clips(sizes, num_spans, data):
    video_id = names(sizes)
    N = len(video_id)
    known = np.array(data.draw(st.lists(st.booleans(), min_size=N, max_size=N)))
    values = np.random.default_rng(N).normal(size=(N, 3)).astype(np.float32)
    means, there = VideoSpans(video_id, num_spans).means(torch.from_numpy(values), torch.from_numpy(known))
    assert means.shape == (N, num_spans, 3) and there.shape == (N, num_spans)
    for clip in range(N):
        others = [i for i in np.flatnonzero(video_id == video_id[clip]) if i != clip]
        for span, part in enumerate(np.array_split(others, num_spans) if num_spans else []):
            recorded = [int(i) for i in part if known[int(i)]]
            assert bool(there[clip, span]) == bool(recorded)
            wanted = values[recorded].mean(0) if recorded else np.zeros(3)
            np.testing.assert_allclose(means[clip, span], wanted, atol=1e-5)


@given(SIZES, st.integers(1, 6))
def test_past_windows_end_with_the_clip_and_stay_within_its_video(sizes, num_frames):
    video_id = names(sizes)
    N = len(video_id)
    for clip, window in enumerate(past_windows(video_id, num_frames).tolist()):
        wanted = [clip - back for back in reversed(range(num_frames))]
        assert window == [i if i >= 0 and video_id[i] == video_id[clip] else N for i in wanted]
