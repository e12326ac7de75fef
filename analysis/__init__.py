"""The door to `imer_ray.analysis` under a shorter name: ``python -m analysis runs/demo``."""
