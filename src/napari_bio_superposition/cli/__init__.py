"""The command line; thin: parses flags, runs a workflow, reports progress."""
