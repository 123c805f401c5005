"""A campaign's settings: `campaign.toml` as one typed tree."""
