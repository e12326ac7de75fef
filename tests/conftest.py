"""Settings of every test process, made before torch or ray are imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same results on every machine
