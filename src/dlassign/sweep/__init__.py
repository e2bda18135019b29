"""Many runs: a space of configs, strategies that choose from it, and executors that train what they chose."""
