"""How each family of scikit-learn estimators is fitted; importing this registers all of them."""

from windtunnel.beam_jobs.features.families import encoding, imputing, scaling, stateless, text

__all__ = ["encoding", "imputing", "scaling", "stateless", "text"]
