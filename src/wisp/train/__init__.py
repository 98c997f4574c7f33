"""Training: one loop; losses, mixing, augmentation and schedules enter as plain functions."""
