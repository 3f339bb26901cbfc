"""What happens by itself: new files, automatic runs, schedules and alerts."""
