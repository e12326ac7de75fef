"""Find diffusion-based recognisers that still read emotion when a modality is missing, and what each costs in speed.

Importing this package loads neither torch nor ray; the submodules load what they need.
"""

__version__ = "0.1.0"
