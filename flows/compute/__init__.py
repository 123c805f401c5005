"""Where the work is done that one process is too small for."""
