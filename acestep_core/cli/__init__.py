"""The command line: a parser, and a file for each family of commands."""
