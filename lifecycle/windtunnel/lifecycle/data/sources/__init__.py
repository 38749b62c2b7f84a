"""Sources: where raw rows come from, in pieces that one worker reads, typed by the problem's schema."""

from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, Rejected, Unit
from windtunnel.lifecycle.data.sources.plan import plan
from windtunnel.lifecycle.data.sources.read import read

__all__ = ["Chunk", "Piece", "Rejected", "Unit", "plan", "read"]
