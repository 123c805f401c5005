"""A campaign's folder itself: whether all is as it was written, what can be made again, a copy in one file."""
