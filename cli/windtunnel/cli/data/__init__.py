"""Commands over data."""
