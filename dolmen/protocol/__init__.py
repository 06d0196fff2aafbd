"""What Dolmen's processes say to each other: pure data and arithmetic, no I/O, no clock, no
chance."""
