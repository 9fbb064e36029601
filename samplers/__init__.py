"""What one region is sampled with: provider objects, sigma schedules, recovery, noise, and one sampling call."""
