"""Cluster descriptions for `ray up`; see README.md beside this file."""
