"""What an instance tells of itself: spans, metrics and logs, and their way out of it."""
