"""What clients do, one file for each kind of work: see `workloads.work`."""
