"""Patterns of .dockerignore; the results are those of moby/patternmatcher's own tests."""

import pytest

from pyrund.build.ignored import is_ignored


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("**", "file", True),
        ("**/", "file", True),
        ("**", "dir/file", True),
        ("**/file", "dir/dir/file", True),
        ("**/*.txt", "dir/dir/file.txt", True),
        ("dir/**", "dir/file", True),
        ("dir/**", "other", False),
        ("**/**/*.txt", "dir/file.txt", True),
        ("a**/*.txt", "a/file.txt", True),
        ("a/*.txt", "a/b/file.txt", False),
        ("a/b/*.txt", "a/b/file.txt", True),
        ("a/b/**/*.txt", "a/b/file.txt", True),
        ("abc", "abc", True),
        ("a", "a/b/c", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[^b-d]", "abc", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a/b", False),
        ("[", "[", False),
        ("abc.def", "abcdef", False),
        ("abc.def", "abcZdef", False),
        ("(a|b)", "a", False),
        ("./a", "a", True),
        ("/a/", "a", True),
        ("a/../b", "b", True),
        ("*\n!a", "a", False),
        ("!a\n*", "a", True),
        ("a\n!a/b", "a/b", False),
        ("a\n!a/b\na/b/c", "a/b/c", True),
        ("#a\na ", "a", True),
        ("", "a", False),
    ],
)
def test_a_path_is_excluded_by_the_last_rule_that_fits(patterns, path, expected):
    assert is_ignored(path, patterns) == expected
