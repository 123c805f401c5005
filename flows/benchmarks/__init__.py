"""What `glassmap benchmark` runs."""
