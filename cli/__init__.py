"""The command line: one thin file per command, each parse → load the configuration → one library call → print."""
