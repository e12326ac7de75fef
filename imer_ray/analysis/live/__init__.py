"""A study's page while the study runs: served to this machine alone, and kept up to date in the browser."""
