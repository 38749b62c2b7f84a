"""A version on its way into production: packaging, targets, canary, experiments."""
