"""What switches say becomes call data."""
