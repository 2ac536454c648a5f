"""ACE-Step 1.5 as a cascade of music transformers, for ComfyUI."""
