"""What `imer_ray` offers in Python: the commands as functions, and what they leave as objects."""
