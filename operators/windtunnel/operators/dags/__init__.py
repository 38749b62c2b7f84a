"""From problems to DAGs."""
