"""Google's Cloud Storage as a store, by an emulator."""

import pytest
from gcs_server import gcs_server
from object_stores import artefacts_are_listed_kept_while_leased_and_evicted
from test_claim import one_finishes_what_the_other_was_killed_in, two_searches_compute_each_stage_once


def test_artefacts_are_listed_kept_while_leased_and_evicted(tmp_path):
    with gcs_server() as uri:
        artefacts_are_listed_kept_while_leased_and_evicted(uri, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("story", [two_searches_compute_each_stage_once, one_finishes_what_the_other_was_killed_in])
def test_two_searches_share_it(tmp_path, story):
    with gcs_server() as uri:
        story([uri, uri], tmp_path)
