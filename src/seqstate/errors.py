"""The ways a training ends early. Bad input is a ValueError, in one line."""


class Interrupted(RuntimeError):
    """Training was stopped by Ctrl-C after a whole step; what was learnt is saved."""


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the last good checkpoint is kept."""


class Lost(RuntimeError):
    """The process that trained is gone: killed, out of memory, or its machine. times: so often."""

    def __init__(self, message: str, times: int = 1) -> None:
        super().__init__(message)
        self.times = times
