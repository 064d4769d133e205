"""What a stack can fail with, and how it is said: one line with what is wrong and the way out."""


class DevstackError(Exception):
    """A server cannot be fetched, started or stopped; the text is meant for the person at the terminal."""
