"""How transformers are fitted over any amount of data."""
