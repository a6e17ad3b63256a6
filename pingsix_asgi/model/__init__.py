"""One frozen pydantic model per resource; field names are APISIX's."""
