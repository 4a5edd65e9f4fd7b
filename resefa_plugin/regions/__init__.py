"""Which pixels an edit shall change, and which it shall leave."""
