"""The ports (transport, disk, key-value map), their real implementations, and the settings."""
