"""The formats that scans come in, a file a family; each reads a file's bytes into its parts."""
