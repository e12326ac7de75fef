"""Results of a study as a search leaves them, made without one."""

from made_studies import rows_of, run, write_run

__all__ = ["rows_of", "run", "write_run"]
