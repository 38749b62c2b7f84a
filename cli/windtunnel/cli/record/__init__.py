"""Commands that question the record of decisions."""
