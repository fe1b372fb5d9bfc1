"""Planning: one option per layer under budgets, what it is predicted to do, and how far predictions were off."""
