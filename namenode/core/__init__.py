"""The namenode's decisions: pure, with the state, the time and the chance they need handed in."""
