"""The errors that imer_ray raises on purpose."""


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Commands print it without a traceback and exit with status 2.
    """


class StageStopped(Exception):
    """A stage was told to stop at the end of an epoch because nobody waits for it; its checkpoint is kept."""


class NonFiniteError(Exception):
    """A loss or a prediction became NaN or infinite; training the same configuration again gives the same."""
