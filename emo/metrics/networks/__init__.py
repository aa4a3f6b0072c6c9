"""Networks of the field that measures use; their weights come from the user."""
