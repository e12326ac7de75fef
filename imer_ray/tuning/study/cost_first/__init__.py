"""Cost first: what candidates cost in speed is measured before any is trained, and only the most promising one is.

Speed depends on nothing that is trained (stage `cost`), quality on a training. Evaluating the two apart, the cheap one
for several candidates and the dear one for the best of them, is decoupled evaluation (Hernández-Lobato et al., 2016,
arXiv:1511.05467; BoTorch's hypervolume knowledge gradient, Daulton et al., 2023, ICML, decides by it, too). Here every
candidate's cost comes first, so that a candidate is judged by a known cost and a predicted quality.
"""


class NotYet(Exception):
    """Costs are being measured: ask again in a while."""
