"""The datanode's pure decisions: no I/O, no clock, no chance, no asyncio."""
