"""Beam jobs, one a module, each runnable alone: ``python -m windtunnel.beam_jobs.X --spec S --result R``."""

from windtunnel.beam_jobs.light import import_lightly

import_lightly()
