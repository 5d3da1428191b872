# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import wordcount
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (b"a b  a\n", {b"a": 2, b"b": 1}),
        (b"a\tb\rc\r\nd\x0ce", {b"a": 1, b"b": 1, b"c": 1, b"d": 1, b"e": 1}),
        (b"one\x0btwo", {b"one\x0btwo": 1}),  # no blank for Java's StringTokenizer
        ("a\u00a0b \u00e4".encode(), {"a\u00a0b".encode(): 1, "\u00e4".encode(): 1}),
        (b"\xef\xbb\xbfword", {b"word": 1}),
        (b"\xff x", {b"\xef\xbf\xbd": 1, b"x": 1}),
        (b"", {}),
    ],
)
def test_words_are_counted_as_java_splits_them(text: bytes, counts: dict[bytes, int]) -> None:
    assert wordcount.count_words([text]) == counts


TEXT = {"GPL": b"a a b c\x0bd c\x0bd c\x0bd c\x0bd"}
OUTPUT = [b"a\t2\nb\t1\n", b"c\x0bd\t4\n", b""]


def test_the_jobs_output_is_read_and_compared() -> None:
    answer = "MapReduce counted 7 words in 1 files; the independent count agrees"
    assert wordcount.verify_counts(TEXT, OUTPUT) == answer


@pytest.mark.parametrize("output", [b"a\t3\nb\t1", b"a\t2\nz\t1", b""])
def test_any_difference_of_the_counts_is_told(output: bytes) -> None:
    with pytest.raises(UserError, match=r"MapReduce counted wrongly: .* the first is"):
        wordcount.verify_counts({"GPL": b"a a b"}, [output])


def test_output_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="malformed: b'Exception in thread'; expected a word and its count"):
        wordcount.parse_counts([b"Exception in thread\n"])


def test_the_job_reads_in_as_many_parts_as_there_are_tasks() -> None:
    properties = wordcount.job_properties("n", "/in", "/out", 1000, 3)
    assert properties["mapreduce.input.fileinputformat.split.maxsize"] == "334"
    assert properties["mapreduce.job.map.class"].endswith("TokenCounterMapper")


def test_the_text_is_regular_files_without_links(tmp_path: Path) -> None:
    (tmp_path / "GPL-3").write_bytes(b"text")
    (tmp_path / "GPL").symlink_to("GPL-3")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    assert wordcount.read_texts(tmp_path) == {"GPL-3": b"text"}


def test_no_text_is_one_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="text contains nothing to count: "):
            wordcount.read_texts(folder)


def test_a_text_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/x/GPL-3")

    (tmp_path / "GPL-3").touch()
    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(UserError, match=r"text cannot be read: /x/GPL-3: Input/output error; set text to another"):
        wordcount.read_texts(tmp_path)
