"""Files and terminal: CSV, JSON, Markdown, LaTeX."""
