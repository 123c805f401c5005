"""The science, and the campaign's memory. Import from its files: this one exports nothing."""
