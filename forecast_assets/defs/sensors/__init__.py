"""Define the sensors of the code location."""
