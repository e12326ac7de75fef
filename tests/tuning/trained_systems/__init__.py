"""A package of systems in place of imer_ray.systems whose trials train for a while and can be compared meanwhile."""
