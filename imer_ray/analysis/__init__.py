"""Reads result files and draws them: Pareto front, hypervolume, importances, one offline page. Imports no torch."""
