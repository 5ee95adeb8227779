"""One module per file format; each gives the fields of a file and their lazy planes. No roles."""
