"""The command line that all commands share: flags and YAML to a config, errors to one line."""
