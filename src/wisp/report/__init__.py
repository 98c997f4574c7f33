"""What people look at: the HTML page of a run and its charts."""
