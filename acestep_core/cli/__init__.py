"""The command line: a parser, and a file for each family of commands."""

OK, FAILED, MISTAKE, STOPPED = 0, 1, 2, 130  # exit codes
