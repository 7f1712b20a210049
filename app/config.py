"""Settings of the service: the indexer's, and what only a server needs.

Made once at the edge (command line or `create_app`) and passed down. Each field is read from `HTAV_<FIELD>`.
"""

import ipaddress
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from indexer.config import IndexSettings

MIB = 1 << 20


class Settings(IndexSettings):
    """What the HTTP service may use and how it defends itself.

    `threads` (from the indexer's settings) is the budget of the inference thread as well. `queue_depth` is how many
    searches may wait: about eight mean service times, since the reranker serves one search at a time; a longer queue
    only turns refusals into late answers. `encode_batch` waiting texts are encoded together. `require_api_key`: None
    asks for a key once one was made (`htav key add`). `allowed_hosts` are host names to answer to, beside the one
    served on; separated by commas in the environment.
    """

    model_config = SettingsConfigDict(env_prefix="HTAV_", extra="ignore", frozen=True, env_ignore_empty=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    queue_depth: int = Field(default=8, ge=1)
    encode_batch: int = Field(default=4, ge=1)
    deadline_s: float = Field(default=5.0, gt=0)
    drain_s: float = Field(default=10.0, ge=0)
    limit_concurrency: int = Field(default=512, ge=1)
    snapshot_poll_s: float = Field(default=1.0, gt=0)

    max_body_bytes: int = Field(default=MIB, ge=1)
    max_upload_bytes: int = Field(default=8192 * MIB, ge=1)
    body_timeout_s: float = Field(default=10.0, gt=0)
    event_stream_s: float = Field(default=3600.0, gt=0)

    require_api_key: bool | None = None
    requests_per_minute: int = Field(default=600, ge=1)
    allowed_hosts: Annotated[list[str], NoDecode] = []

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
