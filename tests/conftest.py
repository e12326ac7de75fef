"""Settings of every test process, made before torch or ray are imported."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same results on every machine
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

# No deadline: a busy machine is no failure. The same examples every time: a green run stays green.
settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")
