"""The soak test: requests for an hour, where every answer is checked and memory must not grow."""
