"""The search: space, objectives, searcher, trial and study. Ray Tune runs the trials, Optuna proposes them."""
