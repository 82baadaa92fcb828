"""What people see: one neutral document, rendered for a terminal, Markdown, JSON and HTML."""
