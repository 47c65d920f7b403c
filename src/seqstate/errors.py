"""The two ways a training ends early. Bad input is a ValueError, in one line."""


class Interrupted(RuntimeError):
    """Training was stopped by Ctrl-C after a whole step; what was learnt is saved."""


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the last good checkpoint is kept."""
