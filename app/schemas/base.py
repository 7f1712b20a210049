"""What requests and answers have in common: limits, plain text, example ids."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_SECONDS = 1e7
EXAMPLE_VIDEO = "7b0c3e9e-6a53-5c1f-9d43-0f4f5b1c2d3e"
EXAMPLE_JOB = "01JD8Q6Z3V5W8X9Y0Z1A2B3C4D"

Band = Literal["high", "medium", "low", "none"]


def _printable(text: str) -> str:
    """A NUL ends strings in C and is refused by PostgreSQL; the other control characters only hide what is meant."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("control characters are not allowed")
    return text


Line = Annotated[str, AfterValidator(_printable)]
Tag = Annotated[Line, Field(min_length=1, max_length=64)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
