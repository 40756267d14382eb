"""Settings for the property tests of this folder."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no failure; files are written anew in each run of a property.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("untimed")
