"""The namenode: maps files to replicated blocks, and keeps the replicas as many as wanted."""
