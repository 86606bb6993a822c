"""The one network that every method trains: a Transformer, bidirectional or causal."""
