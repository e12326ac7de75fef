"""A package of systems in place of imer_ray.systems: the same stages, which note in a log what they do."""
