"""Systems of this laboratory."""
