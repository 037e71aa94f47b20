"""The native routes: thin controllers, their schemas, and one table from errors to statuses."""
