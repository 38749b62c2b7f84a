"""From a fitted pipeline to a plan, and what answers rows with it."""
