"""What the client decides, apart from how it talks: plans, schedules and rankings. Pure."""
