"""Beam jobs, one a module, each runnable alone: ``python -m windtunnel.beam_jobs.X --spec S --result R``."""
