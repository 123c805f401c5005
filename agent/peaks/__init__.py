"""What is read off a spectrum: its first peak, found and fitted one by one or by the million."""
