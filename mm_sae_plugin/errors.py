"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Wrong input from outside: one clear sentence that names the thing and the remedy.

    The command line prints the sentence and exits with status 2; a script sees an ordinary
    exception. Broken invariants of the package itself are ``AssertionError`` instead.
    """
