"""The ports (transport, disk, key-value map) beside their real implementations, and the settings."""
