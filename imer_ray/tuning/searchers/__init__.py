"""Samplers: each file builds one way to propose a study's next trial.

A sampler offers ``build(seed, population) -> optuna.samplers.BaseSampler`` for minimised objectives and conditional
parameters. ``population`` is how many trials are drawn at random before, or together, they say anything. A file whose
sampler takes no more than so many objectives says so, ``MAX_OBJECTIVES``.

One with a model also has ``rank(study, candidates)``: scores of configurations, the highest of the one that it would
propose first, or None while it has no model. So a record finds the best that is new where what the sampler proposes has
been known a few times in a row. One without it is asked again.

One may ask for more than a study's trials: ``begin(space, seed)``, what is searched and the study's own seed, which is
the same for all proposals; and ``hold(values)``, what the next proposal will have whatever it proposes.
"""

TRIAL = "trial"  # user attribute of a proposal: its number among ours; set last, so that one that has it is whole
DERIVED = "derived_from"  # user attribute of an Optuna trial that no sampler proposed: the number of the one that did
ANSWERED = "answered_from"  # of a proposal that was known already: trial and point whose results it was told
FIDELITY = "fidelity"  # constraint that a stopped trial violates: by the share of its training that it lacks
RESUMED = "resumed"  # of a trial that goes on where it was stopped: it stands in the place of the one that was
ORIGIN = "origin"  # of a proposal: how it came about, one of the words of `imer_ray.results.proposals`
