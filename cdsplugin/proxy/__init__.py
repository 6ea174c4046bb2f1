"""The network proxy: how servers share call data. No I/O."""
