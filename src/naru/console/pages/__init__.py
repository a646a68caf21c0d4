"""What each page shows and does. A handler takes a Visit and answers it; it decides nothing about apps."""
