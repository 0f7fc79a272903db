"""Queue notifications and deliver them through Apprise."""
