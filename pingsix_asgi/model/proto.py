"""Protocol buffer definitions, for gRPC transcoding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import Resource


class Proto(Resource):
    """The text of a .proto file, or a descriptor set in base64. Source: apisix/schema_def.lua."""

    content: Annotated[str, Field(min_length=1, max_length=1024 * 1024)]
