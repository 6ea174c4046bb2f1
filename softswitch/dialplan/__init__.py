"""The dialplan: patterns, the YAML loader with line numbers, and routing."""
