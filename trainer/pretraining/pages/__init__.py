"""The pages and texts that show a run: its charts, its predictions, one of its steps."""
