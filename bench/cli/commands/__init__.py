"""The commands, a file per group: options and texts. Their work is done by modules imported inside the functions."""
