"""Commands of the embedded instance."""
