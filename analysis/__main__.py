"""``python -m analysis runs/demo [runs/other ...]``, as ``python -m imer_ray.analysis``."""

from imer_ray.analysis.__main__ import command

command()
