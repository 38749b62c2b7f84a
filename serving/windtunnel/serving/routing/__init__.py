"""Which version answers: models in memory, routes, experiments, the state on disk."""
