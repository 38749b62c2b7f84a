"""The command line, and the embedded instance that it starts."""
