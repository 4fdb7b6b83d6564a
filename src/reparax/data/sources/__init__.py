"""Data larger than memory: files that are read in blocks of rows."""

from reparax.data.sources.blocks import Blocks as Blocks
from reparax.data.sources.blocks import blocks_of as blocks_of
from reparax.data.sources.doors import opened as opened
from reparax.data.sources.relations import related_stream as related_stream
from reparax.data.sources.stream import Reader as Reader
from reparax.data.sources.stream import Stream as Stream
from reparax.data.sources.tally import Spread as Spread
