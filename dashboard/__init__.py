"""The dashboard: reads the store read-only, draws. Not there yet."""
