"""A trained model as data: its bundle, and what it answers."""
