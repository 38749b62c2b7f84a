"""Housekeeping: what is kept for how long, what is still needed, and what goes."""
