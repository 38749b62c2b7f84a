"""The registry under one roof, for those who import it from here; the rooms are champion, registration and promotion."""

from windtunnel.lifecycle.record.champion import Champion, champion, champion_of_entry, judged_against, registered, repair
from windtunnel.lifecycle.record.promotion import Promotion, promote, rollback
from windtunnel.lifecycle.record.registration import register
from windtunnel.lifecycle.record.tracking import client

__all__ = [
    "Champion",
    "Promotion",
    "champion",
    "champion_of_entry",
    "client",
    "judged_against",
    "promote",
    "register",
    "registered",
    "repair",
    "rollback",
]
