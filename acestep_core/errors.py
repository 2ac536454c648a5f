"""What can go wrong, by who can mend it. A message says what was got, what was expected and what to do."""


class AceStepError(Exception):
    """Base of every error this library raises on purpose."""


class UserError(AceStepError, ValueError):
    """A value or a file that the user gave does not fit; nothing was started or changed."""


class CheckpointError(UserError):
    """A model file is missing, damaged, foreign or does not fit the others."""
