"""A package of systems in place of imer_ray.systems whose results depend on the seed."""
