"""The page that the monitor leaves: what is wrong and what to do first, then every figure."""

from collections.abc import Mapping

from markupsafe import Markup

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.pages import page
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["render"]

_TILES = (
    ("champion.age_days", "days since the champion's data cut-off"),
    ("champion.behind_days", "newer days of data"),
    ("answers", "logged answers"),
    ("live.rows", "answers with a known truth"),
    ("latency.p99_ms", "p99 of logged answers, ms"),
    ("server.p99_ms", "p99 on the server, ms, at most"),
)


def _leading_figures(figures: Mapping[str, float]) -> list[tuple[str, object]]:
    """The figures that are looked at first, and the metrics of the live model beside those it was judged by."""
    tiles: list[tuple[str, object]] = [(what, figures[name]) for name, what in _TILES if name in figures]
    metrics = [name for name in figures if name.startswith(("live.", "evaluated.")) and name != "live.rows"]
    return [*tiles, *((name.replace(".", " "), figures[name]) for name in metrics)]


def render(problem: Problem, body: JsonMapping) -> str:
    """The page for what ``monitor.json`` holds."""
    figures, champion, sections = body["figures"], body["champion"], body["sections"]
    content = [page.section("Alerts", _verdict(body), _alerts(problem, body), *_notes(body))]
    content.append(page.section("Figures", page.tiles(_leading_figures(figures))))
    content += [_drift(problem, sections[name], name) for name in ("drift", "live_drift") if name in sections]
    if sections.get("quality"):
        content.append(_quality(sections["quality"]))
    if sections.get("skew", {}).get("compared"):
        content.append(_skew(sections["skew"]))
    content.append(_server(sections["server"]))
    everything = page.table(["figure", "value"], sorted(figures.items()))
    content.append(page.section("Every figure", page.details(f"{len(figures)} figures", everything)))
    who = f"version {champion['version']} ({champion['semantic']}), data cut-off {champion['cutoff']}" if champion else "no champion"
    return page.render(f"{problem.title or problem.name}: monitor", content, f"{who}, looked at as of {body['window']['end']}")


def _verdict(body: JsonMapping) -> Markup:
    if not body["alerts"]:
        return page.badge("fit: no alert", "good")
    reasons = sum(alert["retrain"] for alert in body["alerts"])
    badges = page.badge(f"{len(body['alerts'])} alerts", "bad")
    return badges + page.badge(f"{reasons} reasons to retrain", "warn") if reasons else badges


def _alerts(problem: Problem, body: JsonMapping) -> Markup:
    if not body["alerts"]:
        return Markup("")
    rows = [(alert["check"], alert["text"], page.badge("retrain", "warn") if alert["retrain"] else "") for alert in body["alerts"]]
    by_itself = "monitoring.retrain is on" if problem.monitoring.retrain else "monitoring.retrain is off: a person starts a retraining run"
    return page.table(["check", "what is wrong, and what to do", by_itself if any(a["retrain"] for a in body["alerts"]) else ""], rows)


def _notes(body: JsonMapping) -> list[Markup]:
    return [page.note(note) for note in body["notes"]]


def _drift(problem: Problem, section: JsonMapping, name: str) -> Markup:
    title = "Drift of the newest rows" if name == "drift" else "Drift of what the model was asked"
    watched = {*problem.features.columns, *problem.sensitive}
    columns = sorted(section["columns"].items(), key=lambda entry: (entry[0] not in watched, -(entry[1]["psi"] or 0.0)))
    rows = [
        (
            column,
            page.badge("drifted", "bad")
            if drift["drifted"] and column in watched
            else page.badge("feature" if column in watched else "not watched"),
            drift["psi"],
            drift["ks"],
            drift["l_infinity"],
            drift["q_value"],
            "; ".join(drift["reasons"]) or ", ".join(f"new: {value}" for value, _ in drift["new"][:3]),
        )
        for column, drift in columns
    ]
    new, old = section["rows"][1], section["rows"][0]
    intro = f"{new:,} rows beside the {old:,} that the champion learned from; limit of the index: {section['limit']:g}."
    head = ["column", "", "PSI", "KS", "largest change", "q-value", ""]
    return page.section(title, page.note(intro), page.table(head, rows))


def _quality(arms: list[JsonMapping]) -> Markup:
    names = list(dict.fromkeys(name for arm in arms for name in arm["figures"]))
    rows = [
        (
            arm["version"] or "?",
            arm["route"],
            page.badge("shadow") if arm["shadow"] else "",
            arm["rows"],
            *(arm["figures"].get(n) for n in names),
        )
        for arm in arms
    ]
    return page.section("Quality on answers whose truth is known", page.table(["version", "route", "", "rows", *names], rows))


def _skew(section: JsonMapping) -> Markup:
    intro = f"The same row as it was sent and as it was ingested, in {section['compared']:,} answers."
    rows = [(feature, f"{share:.2%}") for feature, share in section["shares"].items()]
    table = page.table(["feature", "differs in"], rows) if rows else page.badge("no difference", "good")
    return page.section("Training-serving skew", page.note(intro), table)


def _server(server: JsonMapping) -> Markup:
    if not server["url"]:
        return page.section("Model server", page.badge("none over HTTP"))
    state = page.badge(f"does not answer: {server['error']}", "bad") if server["error"] else page.badge("up", "good")
    rows = [(f"label {label}", f"version {version}") for label, version in sorted(server["labels"].items())]
    rows += [(f"requests that ended with {code}", count) for code, count in sorted(server["codes"].items())]
    return page.section("Model server", state, " ", page.code(server["url"]), page.table(["", ""], rows) if rows else "")
