"""Control: teachers of policies, who choose the next task, the states to begin at, or the next subgoal."""
