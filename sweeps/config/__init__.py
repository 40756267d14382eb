"""What is asked for: YAML in, one frozen `Config` out."""
