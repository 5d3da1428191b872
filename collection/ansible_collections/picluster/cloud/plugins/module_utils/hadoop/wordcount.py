# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""WordCount, twice: as a MapReduce job, and by Python as the independent count that it is compared with."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def read_texts(folder: Path) -> dict[str, bytes]:
    """Return the regular files of a folder by name; links are other names of the same text."""
    # Hadoop ignores names with these beginnings.
    entries = [path for path in folder.iterdir() if path.name[0] not in "._"] if folder.is_dir() else []
    try:
        texts = {path.name: path.read_bytes() for path in sorted(entries) if path.is_file() and not path.is_symlink()}
    except OSError as error:
        raise UserError(
            f"text cannot be read: {error.filename or folder}: {error.strerror}; set text to another folder"
        ) from error
    if not any(texts.values()):
        raise UserError(f"text contains nothing to count: {folder}; set text to another folder")
    return texts


def count_words(texts: Iterable[bytes]) -> Counter[bytes]:
    """Return the count of each word, as TokenCounterMapper counts, but by Python's own means.

    Hadoop reads lines ending in CR, LF or CRLF without a leading byte order mark, decodes them as UTF-8 (other bytes
    become U+FFFD) and splits at the blanks of Java's StringTokenizer: space, tab, LF, CR, FF.
    """
    counts: Counter[bytes] = Counter()
    for text in texts:
        clean = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
        counts.update(word.encode() for word in re.split(r"[ \t\n\r\f]+", clean) if word)
    return counts


def parse_counts(parts: Iterable[bytes]) -> Counter[bytes]:
    """Return the counts in the job's output, whose lines are word, tab, count."""
    counts: Counter[bytes] = Counter()
    for part in parts:
        for line in part.split(b"\n"):
            word, tab, number = line.rpartition(b"\t")
            if not line:
                continue
            if not tab or not number.isdigit():
                raise UserError(f"the job's output is malformed: {line[:60]!r}; expected a word and its count")
            counts[word] += int(number)
    return counts


def verify_counts(texts: Mapping[str, bytes], outputs: Iterable[bytes]) -> str:
    """Compare the job's output with an independent count; return the check's answer.

    Raises:
        UserError: they differ, or the output is malformed.
    """
    ours, theirs = count_words(texts.values()), parse_counts(outputs)
    differing = sorted(word for word in ours.keys() | theirs.keys() if ours[word] != theirs[word])
    if differing:
        word = differing[0]
        raise UserError(
            f"MapReduce counted wrongly: {len(differing)} words have different counts, the first is "
            f"{word.decode(errors='replace')!r}: MapReduce {theirs[word]}, independent count {ours[word]}"
        )
    return f"MapReduce counted {sum(ours.values()):,} words in {len(texts)} files; the independent count agrees"


def job_properties(name: str, source: str, target: str, size: int, tasks: int) -> dict[str, str]:
    """Return WordCount from classes that every MapReduce has (the jar of examples is not on Maven Central).

    Mapper, combiner and reducer are those of the example WordCount under their library names. Small files are combined,
    as otherwise each would cost a JVM.
    """
    library = "org.apache.hadoop.mapreduce.lib"
    return {
        "mapreduce.job.name": name,
        "mapreduce.input.fileinputformat.inputdir": source,
        "mapreduce.output.fileoutputformat.outputdir": target,
        "mapreduce.job.inputformat.class": f"{library}.input.CombineTextInputFormat",
        "mapreduce.input.fileinputformat.split.maxsize": str(max(1, math.ceil(size / tasks))),
        "mapreduce.job.map.class": f"{library}.map.TokenCounterMapper",
        "mapreduce.job.combine.class": f"{library}.reduce.IntSumReducer",
        "mapreduce.job.reduce.class": f"{library}.reduce.IntSumReducer",
        "mapreduce.job.output.key.class": "org.apache.hadoop.io.Text",
        "mapreduce.job.output.value.class": "org.apache.hadoop.io.IntWritable",
        "mapreduce.job.reduces": "1",
        # Spread over the workers, not folded into the master's own process.
        "mapreduce.job.ubertask.enable": "false",
    }
