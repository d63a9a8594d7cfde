"""What a steward does: `run` steps, `look` measures, `states` and `case` move an episode, `decide` decides."""
