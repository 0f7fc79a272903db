"""What an earlier version left on disk, and the tests that it goes on working."""
