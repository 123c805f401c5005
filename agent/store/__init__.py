"""A campaign's memory: one SQLite file, written by one process and read by any number."""
