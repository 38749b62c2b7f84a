"""The page that the feedback stage leaves: how predictions turned out, and what still waits for its truth."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["WAITING", "render"]

WAITING = {
    "no_keys": "the answers do not carry the key columns: send them along with the features, or name keys in the problem file",
    "not_due": "the truth is not known yet at the data cut-off: it will be joined by a later run",
    "no_examples": "no example of the row's day was ingested: run the retraining DAG, or a backfill, over that day",
    "no_row": "the day was ingested but has no row with these keys: compare the keys that are sent with those of the source",
    "no_label": "the row is there but has no label (yet): it may never get one, as a cancelled flight",
    "ambiguous": "several rows with the same keys have different labels: the keys do not name a row",
}
"""Why answers wait, and what to do."""


def _by_arm(arms: Sequence[JsonMapping]) -> Markup:
    """What each version was worth by each route."""
    names = list(dict.fromkeys(name for arm in arms for name in arm["figures"]))
    rows = []
    for arm in arms:
        shadow = page.badge("shadow") if arm["shadow"] else ""
        rows.append((arm["version"] or "?", arm["route"], shadow, arm["rows"], *(arm["figures"].get(name) for name in names)))
    return page.section("By version and route", page.table(["version", "route", "", "rows", *names], rows))


def _waiting(waiting: Mapping[str, int]) -> Markup:
    """Why answers have no truth yet, the most frequent reason first."""
    ordered = sorted(waiting.items(), key=lambda entry: -entry[1])
    rows = [(reason.replace("_", " "), count, WAITING.get(reason, "")) for reason, count in ordered]
    return page.section("Waiting", page.table(["why", "answers", "what it means"], rows))


def render(problem: Problem, body: JsonMapping) -> str:
    """The page for what ``feedback.json`` holds."""
    shown, waiting = body["shown"], body["waiting"]
    tiles: list[tuple[str, object]] = [
        ("answers", body["answers"]),
        ("joined with their truth", body["joined"]),
        ("waiting", sum(waiting.values())),
        ("labels by people", body["corrected"]),
    ]
    if shown and shown["metric"] in shown["figures"]:
        tiles.insert(0, (f"live {shown['metric']}", shown["figures"][shown["metric"]]))
    sections = [page.section("Outcome", page.tiles(tiles), *_note(problem, body))]
    if body["arms"]:
        sections.append(_by_arm(body["arms"]))
    if waiting:
        sections.append(_waiting(waiting))
    if body["compared"]:
        sections.append(_skew(body))
    if body["days"]:
        rows = [(entry["day"], entry["answers"], entry["rows"], sum(entry["waiting"].values())) for entry in body["days"]]
        sections.append(page.section("By day of the answer", page.table(["day", "answers", "joined", "waiting"], rows)))
    window = body["window"]
    return page.render(f"{problem.title or problem.name}: feedback", sections, f"what is known by {window['end']}, table {body['table']}")


def _note(problem: Problem, body: JsonMapping) -> list[Markup]:
    if not body["answers"]:
        text = f"No predictions of {problem.name} were logged for this window, so there is nothing to join yet."
    elif not body["joined"]:
        text = "No prediction has met its truth yet; see below why."
    elif body["shown"] and body["shown"]["interval"]:
        shown = body["shown"]
        low, high = shown["interval"]
        text = f"95 % interval of {shown['metric']}: {low:.4g} to {high:.4g}, from {shown['rows']:,} answers that were shown."
    else:
        return []
    return [page.note(text)]


def _skew(body: JsonMapping) -> Markup:
    rows = [(name, f"{share:.2%}") for name, share in body["differs"].items()]
    text = f"Features that were sent with another value than the ingested row has, of {body['compared']:,} answers that could be compared."
    content = page.table(["feature", "differs in"], rows) if rows else page.badge("none", "good")
    return page.section("Training-serving skew", page.note(text), content)
