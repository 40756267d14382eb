"""What is asked for: YAML in, one frozen `Config` out."""

from sweeps.config.config import Config, load, validate

__all__ = ["Config", "load", "validate"]
