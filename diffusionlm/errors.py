"""Every error that a user can cause, in one small tree.

    FlowLMError
    ├── ConfigError       a configuration file, option or value
    ├── PairingError      two valid parts that cannot work together (a sampler and a process, say)
    ├── DataError         a corpus, a shard, a data source
    ├── TokenizerError    tokenizer files or training
    ├── CheckpointError   a run folder or a checkpoint
    └── DivergedError     a network whose answers are not numbers

A message is one line: what came, what is allowed, what to do. The command line prints it without a traceback and exits
with code 2. Anything else that escapes is a fault of ours: it keeps its traceback and exits with code 1.
"""


class FlowLMError(Exception):
    """Base of every error whose cause is in the user's hands."""


class ConfigError(FlowLMError):
    """A configuration file, a ``--set`` option or a value in them is wrong."""


class PairingError(ConfigError):
    """Two parts that are valid alone were asked to work together and cannot."""


class DataError(FlowLMError):
    """A corpus, data source or token shard is missing, empty or damaged."""


class TokenizerError(FlowLMError):
    """Tokenizer files are missing or inconsistent, or a tokenizer cannot be trained as asked."""


class CheckpointError(FlowLMError):
    """A run folder or checkpoint is missing, torn, corrupted or from another format version."""


class DivergedError(FlowLMError):
    """A network answers with something that is not a number, as one whose training diverged does."""
