"""Systems: each file builds the stage graph of one way to recognise emotion when a modality is missing.

A system offers ``graph(config, split) -> Stage``: the `evaluate` stage for a split, with all it stands on as inputs.
It reads the resolved configuration and imports neither torch nor ray, so that a waiting trial stays light.
"""
