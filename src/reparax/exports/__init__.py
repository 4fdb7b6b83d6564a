"""Models for use without reparax: ONNX, StableHLO, and a page for the browser; see `export`."""

from reparax.exports._export import Format as Format
from reparax.exports._export import export as export
