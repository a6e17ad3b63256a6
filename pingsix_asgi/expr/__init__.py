"""Variables, expressions and templates: configuration text compiled to functions."""
