"""The models that one worker has in memory, and how it follows the shared state.

A change is prepared beside what serves (checked, loaded, warmed, in a thread), then takes over by one assignment; requests that began
with the old one finish with it, and it is freed when the last of them is done.
"""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError, WindtunnelError
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.serving.compiler.engine import Engine
from windtunnel.serving.routing.batching import Queue
from windtunnel.serving.routing.lookup import Lookup
from windtunnel.serving.routing.router import Route, Unknown
from windtunnel.serving.routing.store import Store, empty_model

__all__ = ["Models", "Served"]

log = logging.getLogger("windtunnel.server")


@dataclasses.dataclass(frozen=True)
class Served:
    """One model as a worker serves it now.

    Attributes:
        name: the model.
        engines: version -> engine.
        queues: version -> the queue of those that scikit-learn answers.
        route: who answers.
        lookup: precomputed answers, where there are any.
    """

    name: str
    engines: Mapping[str, Engine]
    queues: Mapping[str, Queue]
    route: Route
    lookup: Lookup | None = None


class Models:
    """All models of one worker.

    Args:
        store: the shared state.
        slot: the worker's number.
        max_age: seconds that a request may wait for scikit-learn.
    """

    def __init__(self, store: Store, slot: int, max_age: float = 1.0) -> None:
        self.store = store
        self.slot = slot
        self.max_age = max_age
        self.served: dict[str, Served] = {}
        self.generation = -1
        self.on_swap: Callable[[], None] = lambda: None
        self._stamp: tuple[int, int] | None = None
        self._loaded: dict[str, Engine] = {}
        self._applying = asyncio.Lock()

    def get(self, name: str) -> Served:
        """A model.

        Raises:
            Unknown: there is none of that name.
        """
        found = self.served.get(name)
        if found is None:
            raise Unknown(f"no model {name!r}", hint="GET /v1/models lists those that your token may use")
        return found

    async def follow(self) -> None:
        """Take over every change of the shared state; runs for ever."""
        async for _ in self.store.changes():
            while self.store.stamp() != self._stamp:
                try:
                    await self.apply()
                except WindtunnelError as error:
                    log.error("worker %s: the new state was not taken over: %s", self.slot, error)
                    # the stamp was not taken over, so the same change is tried again: not as fast as the loop turns
                    await asyncio.sleep(1.0)

    async def apply(self) -> None:
        """Serve what the state says now."""
        async with self._applying:
            # before the state is read: a change between the two is then seen by the next look, and not missed
            stamp = self.store.stamp()
            state = self.store.read()
            if state["generation"] == self.generation:
                self._stamp = stamp
                return
            wanted = {v["digest"] for model in state["models"].values() for v in model["versions"].values()}
            missing = sorted(wanted - set(self._loaded))
            failures = []
            for digest in missing:
                try:
                    self._loaded[digest] = await asyncio.to_thread(load_engine, self.store.models / digest, digest)
                except WindtunnelError as error:
                    failures.append(f"{digest[:12]}: {error.message}")
            self._take_over(state)
            self._stamp = stamp
            self.store.acknowledge(self.slot, self.generation, "; ".join(failures))
            self._loaded = {digest: engine for digest, engine in self._loaded.items() if digest in wanted}
            if missing:
                # What was just loaded lives long: keep the collector from walking over it again and again.
                # first: what was frozen before and is dropped now would never be collected
                gc.unfreeze()
                gc.collect()
                gc.freeze()
            for failure in failures:
                log.error("worker %s: a version cannot be served: %s", self.slot, failure)

    def _take_over(self, state: JsonMapping) -> None:
        served = {}
        for name, model in state["models"].items():
            engines = {v: self._loaded[entry["digest"]] for v, entry in model["versions"].items() if entry["digest"] in self._loaded}
            before = self.served.get(name)
            queues = self._queues(engines, before)
            usable = {**model, "versions": {v: entry for v, entry in model["versions"].items() if v in engines}}
            usable["labels"] = {label: version for label, version in model["labels"].items() if version in engines}
            served[name] = Served(name, engines, queues, Route.of(usable), self._lookup(name, model, before))
        self.served = served
        self.generation = state["generation"]
        self.on_swap()

    def _queues(self, engines: Mapping[str, Engine], before: Served | None) -> dict[str, Queue]:
        """The queues of the versions that scikit-learn answers: those that stay keep theirs."""
        queues = {}
        for version, engine in engines.items():
            if engine.kind == "pipeline":
                kept = before.queues.get(version) if before and before.engines.get(version) is engine else None
                queues[version] = kept or Queue(engine, self.max_age)
        return queues

    def _lookup(self, name: str, model: JsonMapping, before: Served | None) -> Lookup | None:
        """The precomputed answers of a model; a file that cannot be read is reported, and the model answers by itself."""
        digest = (model.get("lookup") or {}).get("digest")
        if digest is None:
            return None
        path = self.store.lookup(digest)
        if before is not None and before.lookup is not None and before.lookup.path == path:
            return before.lookup
        try:
            return Lookup(path)
        except WindtunnelError as error:
            log.error("worker %s: %s answers without its precomputed answers: %s", self.slot, name, error)
            return None

    async def look_up(self, name: str, uri: str, digest: str) -> dict[str, object]:
        """Let a model answer from precomputed answers, on all workers.

        Raises:
            IntegrityError: the file is not what it should be.
            UnavailableError: it cannot be reached.
        """
        path = await asyncio.to_thread(self.store.fetch_lookup, uri, digest)
        candidate = Lookup(path).candidate

        def edit(models: dict[str, Any]) -> None:
            if name not in models:
                raise Unknown(f"no model {name!r}")
            models[name]["lookup"] = {"uri": uri, "digest": digest, "candidate": candidate}

        found = await self.change(edit)
        await asyncio.to_thread(self.store.sweep)
        return found

    async def load(
        self, name: str, uri: str, digest: str, version: str, labels: Sequence[str], route: object = None, patience: float = 30.0
    ) -> dict[str, object]:
        """Load a version on all workers and label it; answers once every worker serves it.

        Raises:
            IntegrityError, ConfigurationError: the bundle is not what it should be.
            UnavailableError: it cannot be reached, or a worker did not take it over in time.
        """
        from windtunnel.serving.routing.arms import start
        from windtunnel.serving.routing.router import check_route

        with_lease = contextlib.ExitStack()
        await asyncio.to_thread(with_lease.enter_context, self.store.loading())
        try:
            folder = await asyncio.to_thread(self.store.fetch, uri, digest)
            engine = self._loaded[digest] if digest in self._loaded else await asyncio.to_thread(load_engine, folder, digest)
            about = {"uri": self.store.source(digest, uri), "digest": digest, "problem": engine.bundle.problem}

            def edit(models: dict[str, Any]) -> None:
                model = models.setdefault(name, empty_model())
                # taken out first, so that it comes last: the order says which versions are the oldest
                model["versions"].pop(version, None)
                model["versions"][version] = about
                for label in labels:
                    model["labels"][label] = version
                if route is not None:
                    model["route"] = start(model, check_route(model, route))
                _drop_oldest(model, self.store.max_versions)

            # before the change: this worker finds it loaded when it takes the change over
            self._loaded[digest] = engine
            return await self.change(edit, patience)
        finally:
            with_lease.close()
            await asyncio.to_thread(self.store.sweep)

    async def ensure(self, name: str) -> JsonObject:
        """Make sure that all workers serve what the state says of a model: a load that names nothing.

        Raises:
            Unknown: there is no such model.
            UnavailableError: a worker cannot serve it.
        """

        def edit(models: dict[str, Any]) -> None:
            if name not in models:
                raise Unknown(f"no model {name!r}", hint="a first load needs uri, digest and version")

        return await self.change(edit)

    async def change(self, edit: Callable[[JsonObject], None], patience: float = 30.0) -> dict[str, object]:
        """Change the shared state, and wait until every worker serves the change.

        Raises:
            UnavailableError: a worker did not take it over in time, or could not.
        """
        began = time.perf_counter()
        state = await asyncio.to_thread(self.store.change, edit)
        await self.apply()
        while True:
            workers = self.store.workers()
            behind = [slot for slot, said in workers.items() if said["generation"] < state["generation"]]
            failed = [said["error"] for said in workers.values() if said["error"]]
            if failed:
                raise UnavailableError(f"a worker could not take the change over: {failed[0]}")
            if not behind:
                return {"generation": state["generation"], "seconds": round(time.perf_counter() - began, 4), "workers": len(workers)}
            if time.perf_counter() - began > patience:
                raise UnavailableError(f"workers {behind} did not take the change over in {patience:g} s")
            await asyncio.sleep(0.005)

    async def unload(self, name: str, version: str | None = None) -> JsonObject:
        """Stop serving a version, or the whole model."""

        def edit(models: dict[str, Any]) -> None:
            model = models.get(name)
            if model is None or (version is not None and version not in model["versions"]):
                raise Unknown(f"no model {name!r}" if model is None else f"no version {version!r} of model {name!r}")
            if version is None:
                del models[name]
                return
            labelled = [label for label, target in model["labels"].items() if target == version]
            if "champion" in labelled and len(model["versions"]) > 1:
                raise ConfigurationError(f"version {version} is the champion", hint="give the label to another version first")
            del model["versions"][version]
            model["labels"] = {label: target for label, target in model["labels"].items() if target != version}
            if not model["versions"]:
                del models[name]

        found = await self.change(edit)
        await asyncio.to_thread(self.store.sweep)
        return found


def load_engine(folder: Path, digest: str) -> Engine:
    """An engine that is checked, loaded and warm.

    Raises:
        WindtunnelError: it cannot be loaded, or does not answer its own samples.
    """
    try:
        engine = Engine.load(folder, digest)
        engine.warm()
    except WindtunnelError:
        raise
    except Exception as error:  # a damaged artefact fails in the library that reads it, in its own way
        raise ConfigurationError(f"{folder.name}: cannot be loaded: {type(error).__name__}: {error}") from error
    return engine


def _drop_oldest(model: JsonObject, most: int) -> None:
    labelled = set(model["labels"].values())
    spare = [version for version in model["versions"] if version not in labelled]
    # what was just loaded may have no label yet: it is not what makes room for itself
    newest = next(reversed(model["versions"]))
    for version in spare:
        if len(model["versions"]) <= most:
            break
        if version != newest:
            del model["versions"][version]
