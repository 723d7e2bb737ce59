"""What callers may cause: budgets, places, and when renewals fall due."""
