"""What new data is compared with: the statistics of what the champion learned from."""

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.references import StatisticsRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record import manifest
from windtunnel.lifecycle.record.champion import champion, registered

__all__ = ["champion_statistics"]


def champion_statistics(settings: Settings, problem_name: str, before: str = "") -> StatisticsRef | None:
    """The statistics that the champion's own run left; None if there is no champion, or its run kept no manifest.

    Args:
        settings: where the ledger and the manifests are.
        problem_name: whose champion.
        before: only a champion with an older data cut-off than this (ISO): a backfill must not see its future.
    """
    present = champion(settings, problem_name)
    if present is None or (before and present.cutoff >= before):
        return None
    entry = registered(settings, problem_name).get(present.version)
    try:
        stages = manifest.load(settings, problem_name, str(entry.run.get("run_id", ""))).stages if entry else {}
    except ConfigurationError:
        return None
    return StatisticsRef.from_dict(stages["profile"].output) if "profile" in stages else None
