"""The loop: stages, backends, the command line, Prefect."""
