"""The one exception for what a user can cause.

Its message is a single line that says what is wrong, with which value and where (file and line),
and how to put it right. Every command prints it without a traceback and exits with status 2.
"""


class UserError(Exception):
    """A problem that the user can fix: bad input, bad options, files that do not fit together."""
