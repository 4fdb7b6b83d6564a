"""Reading and writing data, and the schema that describes them; uses NumPy and Arrow, never jax."""

from reparax.data.arrays import BUILTIN, read_npy
from reparax.data.batches import BATCHES, batches_to
from reparax.data.classes import UNLABELED, label_names, repeated_labels, with_classes
from reparax.data.columns import Column, marginal_oddity
from reparax.data.constraints import Unique
from reparax.data.dataset import Dataset, FrameKind, Release, from_array
from reparax.data.files import check_output, content_of
from reparax.data.fill import fill
from reparax.data.formulas import formulas_of
from reparax.data.given import described_rows
from reparax.data.images import grid
from reparax.data.labels import label_text
from reparax.data.named import conditions_as
from reparax.data.observed import with_observed
from reparax.data.overrides import kinds_of
from reparax.data.private import Noise, num_histograms, privately_described
from reparax.data.read import read, read_as
from reparax.data.related import RelationLine, fractions_held, related, relation_lines
from reparax.data.relations import Extension, Relation
from reparax.data.restore import (
    ColumnLine,
    cell_text,
    cell_texts,
    cell_value,
    column_lines,
    possible_value,
    to_frame,
    unrounded,
)
from reparax.data.schema import Schema, joint_values, left_out
from reparax.data.solve import Solved, holds_unrounded, is_solved, log_probabilities, solved
from reparax.data.sources import Blocks, Reader, Spread, Stream, blocks_of, opened, related_stream
from reparax.data.sparse import SparseRows, dense
from reparax.data.split import described, require_fit, split, with_schema
from reparax.data.text import MISSING_NUMBERS, MISSING_TEXT
from reparax.data.unknown import read_with_unknown
from reparax.data.values import rounded
from reparax.data.views import Views, as_stored, by_view, present, separate
from reparax.data.write import WRITABLE, write
from reparax.data.zones import zone_of

__all__ = [
    "BATCHES", "BUILTIN", "MISSING_NUMBERS", "MISSING_TEXT", "UNLABELED", "WRITABLE", "Blocks", "Column", "ColumnLine",
    "Dataset", "Extension", "FrameKind", "Noise", "Reader", "Relation", "RelationLine", "Release", "Schema", "Solved",
    "SparseRows", "Spread", "Stream", "Unique", "Views", "as_stored", "batches_to", "blocks_of", "by_view",
    "cell_text", "cell_texts", "cell_value", "check_output", "column_lines", "conditions_as", "content_of", "dense",
    "described", "described_rows", "fill", "formulas_of", "fractions_held", "from_array", "grid", "holds_unrounded",
    "is_solved", "joint_values", "kinds_of", "label_names", "label_text", "left_out", "log_probabilities",
    "marginal_oddity", "num_histograms", "opened", "possible_value", "present", "privately_described", "read",
    "read_as", "read_npy", "read_with_unknown", "related", "related_stream", "relation_lines", "repeated_labels",
    "require_fit", "rounded", "separate", "solved", "split", "to_frame", "unrounded", "with_classes",
    "with_observed", "with_schema", "write", "zone_of",
]  # fmt: skip
