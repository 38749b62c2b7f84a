"""What fits count."""
