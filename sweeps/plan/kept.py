"""The plan that a folder was last written for: of its configuration, and of what the models were made of then."""

from __future__ import annotations

import yaml

from modelfolder.errors import InputError
from rect import models
from sweeps.config.config import validate
from sweeps.plan import search
from sweeps.plan.identity import Plan, make_plan
from sweeps.store.store import Store


def kept_plan(store: Store) -> Plan:
    """The plan, with what its search has picked. Looks at a model only where no run has said what it is made of.

    Raises:
        InputError: there is no sweep, or its facts or examples are not to be had here.
    """
    data = store.folder.read_or_none("config.yaml")
    if data is None:
        raise InputError(f"{store.url}: there is no sweep here (no config.yaml)")
    kept = store.contents()
    config = validate(yaml.safe_load(data), store.folder.path("config.yaml"))
    contents = {spec.key: models.content(spec.name, spec.revision) for spec in config.models if spec.key not in kept}
    return search.decided(make_plan(config, {**contents, **kept}), store)
