"""Numbers from run files: everything that is computed rather than recorded."""
