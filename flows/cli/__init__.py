"""The command `glassmap`: what people type, and what the terminal shows."""
