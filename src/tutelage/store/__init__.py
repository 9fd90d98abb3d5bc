"""The label store: a teacher's answers to a data set, computed once, kept on disk, read back by sample.

`label` fills a store, `Store` reads it, and `tutelage.teachers.Stored` lets it stand wherever a frozen teacher stands.
"""

from tutelage.store.care import info, merge, verify
from tutelage.store.identity import fingerprint
from tutelage.store.keep import DTYPES
from tutelage.store.labelling import label
from tutelage.store.memory import Memory
from tutelage.store.opened import Store

__all__ = ["DTYPES", "Memory", "Store", "fingerprint", "info", "label", "merge", "verify"]
