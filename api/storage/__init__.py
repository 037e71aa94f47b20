"""The database: its engine, its tables and their migrations. What is asked of them stands with each capability."""
