"""A laboratory: orders go out as files, scans and composition tables come back into folders."""
