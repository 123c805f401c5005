"""What a campaign is fed with: compositions, spectra, and the files that hold them, read whole or refused."""
