"""Files and folders, local or remote: read, written whole, locked, replaced."""
