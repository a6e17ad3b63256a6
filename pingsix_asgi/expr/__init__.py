"""Variables, expressions and templates: text of a configuration compiled to functions of a request."""
