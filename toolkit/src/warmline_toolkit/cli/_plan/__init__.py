"""The sub-commands of `warmline plan`."""
