"""Sources: each module turns one language's text into facts. None of them runs or imports what it reads."""
