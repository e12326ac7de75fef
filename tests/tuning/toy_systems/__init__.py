"""A package of systems in place of imer_ray.systems whose stages compute almost nothing."""
