"""A model in production: predictions collected, truth and labels joined, monitoring."""
