"""Pages that show people an output: one file each, nothing is fetched, and all text is escaped."""
