"""The version in production: the newest promotion or rollback in the ledger, which MLflow's alias ``champion`` follows.

MLflow sets an alias whoever asks and keeps no history, so nothing here trusts an alias: who is champion is the newest promotion or rollback
in the ledger, written by compare-and-set; the alias is set afterwards and can be put right at any time (`repair`).
"""

import dataclasses

from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record.ledger import DECISIVE, Entry, Ledger
from windtunnel.lifecycle.record.tracking import TAG, calling, client

__all__ = [
    "Champion",
    "aliases",
    "as_champion",
    "champion",
    "champion_of_entry",
    "follow_ledger",
    "judged_against",
    "present_champion",
    "registered",
    "registration",
    "repair",
    "shown_champion",
]


@dataclasses.dataclass(frozen=True)
class Champion:
    """The version in production, as the ledger says.

    Attributes:
        version: the number in MLflow.
        semantic: its semantic version.
        cutoff: its data cut-off, ISO.
        uri: its bundle.
        digest: the bundle's digest.
        metric: the main metric's name.
        value: what it was worth when it was evaluated.
        entry: the ledger entry that made it champion: the ``expect`` of the next promotion.
        fingerprint: the candidate's.
        run_id: the candidate's MLflow run.
    """

    version: str
    semantic: str
    cutoff: str
    uri: str
    digest: str
    metric: str
    value: float | None
    entry: str
    fingerprint: str = ""
    run_id: str = ""


def champion(settings: Settings, problem_name: str) -> Champion | None:
    """The version in production, or None; no server but the ledger's database is asked."""
    if not Ledger.configured(settings):
        return None
    return present_champion(Ledger(settings), problem_name)


def champion_of_entry(settings: Settings, entry: str) -> Champion:
    """The champion that a promotion or rollback of the past made.

    Raises:
        IntegrityError: the ledger has no such entry.
    """
    found = Ledger(settings).entry(entry)
    if found is not None and found.kind in {"counterfactual", "register"}:  # who would have been champion
        payload = {"version": f"as of {found.payload['cutoff']}", "semantic": "", **found.payload}
        return as_champion(dataclasses.replace(found, payload=payload))
    if found is None or found.kind not in DECISIVE:
        raise IntegrityError(f"the ledger has no promotion {entry[:12]}", hint="is this the ledger that the run was recorded with?")
    return as_champion(found)


def judged_against(settings: Settings, problem_name: str, version: Champion) -> Champion | None:
    """The champion that a version was judged against when it was registered last; None if there was none then."""
    entry = str(registration(Ledger(settings), problem_name, version.version).payload["judged_against"])
    return champion_of_entry(settings, entry) if entry else None


def aliases(settings: Settings, problem_name: str) -> dict[str, str]:
    """Alias -> version, as MLflow has them."""
    held = calling(lambda: client(settings).get_registered_model(problem_name)).aliases
    return {str(alias): str(version) for alias, version in held.items()}


def registered(settings: Settings, problem_name: str) -> dict[str, Entry]:
    """Every registered version of a problem: version -> its entry in the ledger."""
    return {str(entry.payload["version"]): entry for entry in Ledger(settings).entries(problem_name, ("register",))}


def repair(settings: Settings, problem_name: str) -> bool:
    """Set MLflow's alias ``champion`` to what the ledger says; answers whether it was wrong."""
    present = champion(settings, problem_name)
    if present is None:
        return False
    held = calling(lambda: client(settings).get_registered_model(problem_name)).aliases.get("champion")
    if str(held) == present.version:
        return False
    follow_ledger(settings, problem_name)
    return True


def registration(ledger: Ledger, name: str, version: str) -> Entry:
    """The newest registration of a version.

    Raises:
        ConfigurationError: it was never registered.
    """
    # A version is registered again each time it is judged against another champion.
    for entry in ledger.newest_first(name, ("register",)):
        if str(entry.payload["version"]) == str(version):
            return entry
    raise ConfigurationError(f"{name} has no registered version {version} in the ledger", hint="register it first")


def present_champion(ledger: Ledger, problem_name: str) -> Champion | None:
    """The champion by this ledger, or None."""
    newest = ledger.entries(problem_name, DECISIVE, limit=1)
    if not newest:
        return None
    return as_champion(newest[0])


def as_champion(entry: Entry) -> Champion:
    """The champion that an entry made, or would have made."""
    names = {field.name for field in dataclasses.fields(Champion)}
    return Champion(**{key: value for key, value in entry.payload.items() if key in names}, entry=entry.hash)


def shown_champion(ledger: Ledger, entry: str) -> str:
    """The version of a promotion's entry, in words."""
    found = ledger.entry(entry) if entry else None
    return f"version {found.payload['version']}" if found else "no champion"


def follow_ledger(settings: Settings, name: str) -> None:
    """Let the alias follow the ledger; under a lock, or a slow loser's write could come after the winner's."""
    mlflow, ledger = client(settings), Ledger(settings)
    with ledger.lock(f"alias:{name}"):
        present = present_champion(ledger, name)
        if present is not None:
            version = present.version
            calling(lambda: mlflow.set_registered_model_alias(name, "champion", version))
            calling(lambda: mlflow.set_model_version_tag(name, version, f"{TAG}was_champion", "true"))
