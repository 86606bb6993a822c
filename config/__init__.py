"""Configuration: a TOML file and ``--set`` options in, one validated frozen object out, and its schema for editors."""
