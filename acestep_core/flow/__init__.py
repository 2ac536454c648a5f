"""Flow matching from noise (t = 1) to music (t = 0): schedules, solvers, guidance, and the run through the stages."""
