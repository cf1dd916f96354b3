"""Running a Beam pipeline: its options, its errors in one line, progress and times of its steps."""
