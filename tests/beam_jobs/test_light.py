"""Beam is imported without what its jobs here never use, and with it where a runner elsewhere needs it."""

import subprocess
import sys


def said(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return done.stdout.split()


def test_clients_of_clouds_are_not_imported_until_they_are_needed():
    code = """
import warnings; warnings.simplefilter("ignore")
import sys
import windtunnel.beam_jobs.profile
unwanted = [n for n in ("azure.storage.blob", "google.cloud.storage", "pymongo", "pyparsing") if n in sys.modules]
import apache_beam.io.hadoopfilesystem, pymongo, httplib2
from windtunnel.beam_jobs.light import all_filesystems
all_filesystems()
from apache_beam.io.filesystems import FileSystems
print(unwanted == [], httplib2.Http.__name__, FileSystems.get_scheme("gs://a/b"), type(FileSystems.get_filesystem("gs://a/b")).__name__)
"""
    assert said(code) == ["True", "Http", "gs", "GCSFileSystem"]


def test_a_program_that_imported_beam_before_keeps_what_it_has():
    code = """
import warnings; warnings.simplefilter("ignore")
import logging; logging.disable()
import apache_beam, sys
before = "pymongo" in sys.modules
import windtunnel.beam_jobs.profile
print(before, "pymongo" in sys.modules)
"""
    assert said(code) == ["True", "True"]
