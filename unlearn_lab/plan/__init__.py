"""Which stages a job needs: its parts, pinned by content, as a graph whose leaf is one record."""
